"""The image that is built on top of the release's from `requirements.txt`, `packages.txt`, `plugins/` and settings."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from devenv import requirements
from devenv.errors import PlatformError, ProgramMissing
from devenv.process import run, start, stop
from devenv.project import Project

REQUIREMENTS = requirements.NAME
PACKAGES = "packages.txt"
PLUGINS = "plugins"

_LAST_LINES = 20
_SOURCES = "project"
_SOURCES_IN_IMAGE = "/opt/devenv/project"
_CERTIFICATES = "certificates.pem"
_CERTIFICATE_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
"""Where a laptop behind a proxy that looks into TLS says whom to trust; the build's pip is told the same."""


class ImageNotBuilt(PlatformError):
    """The image with the project's `requirements.txt`, `packages.txt` or `plugins/` could not be built.

    The last lines of the build stand below the message. Behind a proxy or with a package index of your own, set
    `images.build_arguments` (PIP_INDEX_URL, HTTPS_PROXY) or `images.build_network`; where a proxy looks into TLS, name
    its certificates in `PIP_CERT`.
    """

    code = "DEVENV-230"


class ProjectImage:
    """The image of a project: what goes into it, its name, and how it is made.

    The name holds a digest of everything that goes in, so an image of that name is that image.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._cancelled = False

    @property
    def name(self) -> str:
        """What Airflow's pods run: the release's own image where nothing is to be added."""
        if not self._project.settings.packages and not any(True for _ in self._inputs()):
            return self._project.settings.airflow_image
        return f"devenv/{self._project.identifier}:{self._digest()}"

    @property
    def is_built(self) -> bool:
        """Whether it differs from the release's image."""
        return self.name != self._project.settings.airflow_image

    def dockerfile(self) -> str:
        """How it is built: system packages as root, Python packages as `airflow`, as the published images want it.

        https://airflow.apache.org/docs/docker-stack/build.html; `apache-airflow` is named beside the requirements
        so that pip cannot exchange it for another release.
        """
        folder, settings = self._project.folder, self._project.settings
        lines = [f"FROM {settings.airflow_image}"]
        lines += [f"ARG {name}" for name in sorted(settings.images.build_arguments)]
        installs = []
        if (folder / PACKAGES).is_file():
            installs.append(f"sed 's/#.*//' /tmp/{PACKAGES} | xargs apt-get install -y --no-install-recommends")
        if requirements.names_git(requirements.references(self._project.requirements)):
            installs.append("apt-get install -y --no-install-recommends git")  # which Airflow's image has not
        if installs:
            copied = [f"COPY {PACKAGES} /tmp/{PACKAGES}"] if (folder / PACKAGES).is_file() else []
            commands = ("apt-get update", *installs, "apt-get clean", "rm -rf /var/lib/apt/lists/*")
            lines += ["USER root", *copied, "RUN " + " && ".join(commands), "USER airflow"]
        # Beside a requirement with a version, the name alone asks for nothing more; where the image has the package,
        # pip changes nothing.
        wanted = list(settings.packages)
        given = self._project.requirements.is_file()
        if given or wanted:
            if self._certificates() is not None:
                lines += [f"COPY {_CERTIFICATES} /tmp/{_CERTIFICATES}", f"ARG PIP_CERT=/tmp/{_CERTIFICATES}"]
            before = ""
            if given and self._needs_sources():  # they stay there, for the sake of `-e`
                lines.append(f"COPY --chown=airflow:0 {_SOURCES} {_SOURCES_IN_IMAGE}")
                file = self._project.requirements.relative_to(folder)
                before = f"cd {shlex.quote(f'{_SOURCES_IN_IMAGE}/{file.parent.as_posix()}')} && "
                wanted.append(f"-r {shlex.quote(file.name)}")
            elif given:
                lines.append(f"COPY {REQUIREMENTS} /tmp/{REQUIREMENTS}")
                wanted.append(f"-r /tmp/{REQUIREMENTS}")
            release = f'"apache-airflow=={settings.airflow.version}"'
            if given and requirements.is_hashed(self._project.requirements):
                # Beside packages with hashes, pip takes none without; so they are installed before.
                lines.append(f"RUN {before}pip install --no-cache-dir {wanted.pop()}")
            lines.append(f"RUN {before}" + " ".join(("pip install --no-cache-dir", release, *wanted)))
        if self._has_plugins():
            lines.append(f"COPY --chown=airflow:0 {PLUGINS} /opt/airflow/plugins")
        return "\n".join(lines) + "\n"

    def exists(self) -> bool:
        """Whether the laptop's Docker engine has it."""
        done = run(
            ["docker", "image", "inspect", self.name],
            variables=self._project.environment.variables,
            check=False,
        )
        return done.returncode == 0

    def build(self, output: Callable[[str], None]) -> None:
        """Builds it; layers that did not change come from the engine's cache.

        Args:
            output: takes each line of the build.

        Raises:
            ImageNotBuilt: with the build's last lines.
            KeyboardInterrupt: it was cancelled.
        """
        images = self._project.settings.images
        variables = dict(self._project.environment.variables)
        command = [
            "docker",
            "build",
            "--tag",
            self.name,
            "--label",
            f"devenv.io/environment={self._project.identifier}",
        ]
        if self._has_buildx():
            command.append("--progress=plain")
        else:
            variables["DOCKER_BUILDKIT"] = "0"  # the client otherwise insists on a plug-in that is not there
        command += [part for item in images.build_arguments.items() for part in ("--build-arg", "=".join(item))]
        if images.build_network:
            command.append(f"--network={images.build_network}")
        last: deque[str] = deque(maxlen=_LAST_LINES)
        with tempfile.TemporaryDirectory(prefix="devenv-build-") as context:
            self._fill(Path(context))
            with self._lock:
                if self._cancelled:
                    raise KeyboardInterrupt
                self._child = start([*command, context], stderr=subprocess.STDOUT, variables=variables)
            child = self._child
            assert child.stdout is not None
            for raw in child.stdout:
                line = raw.decode("utf-8", "replace").rstrip()
                last.append(line)
                output(line)
            code = child.wait()
            stop(child)
        if self._cancelled:
            raise KeyboardInterrupt
        if code != 0:
            raise ImageNotBuilt(
                f"The image with {self._what()} could not be built",
                hint=f"Fix {self._what()}; behind a proxy, see images.build_arguments in devenv.toml.",
                detail="\n".join(last),
            )

    def forget(self) -> None:
        """Removes every image that was built for the project from the laptop's Docker engine."""
        variables = self._project.environment.variables
        label = f"label=devenv.io/environment={self._project.identifier}"
        with contextlib.suppress(ProgramMissing):
            listed = run(["docker", "image", "ls", "--quiet", "--filter", label], variables=variables, check=False)
            built = sorted(set(listed.stdout.split()))
            if built:
                run(["docker", "image", "rm", "--force", *built], variables=variables, check=False)

    def cancel(self) -> None:
        """Ends a running build."""
        with self._lock:
            self._cancelled = True
            child = self._child
        if child is not None and child.poll() is None:
            child.terminate()

    def _what(self) -> str:
        files = (self._project.requirements, self._project.folder / PACKAGES)
        names = [path.relative_to(self._project.folder).as_posix() for path in files if path.is_file()]
        names += self._project.settings.packages
        return " and ".join(names) or f"{PLUGINS}/"

    def _has_plugins(self) -> bool:
        """Plugins that are not synced like DAG files."""
        return PLUGINS not in self._project.settings.sync.folders and (self._project.folder / PLUGINS).is_dir()

    def _inputs(self) -> Iterator[Path]:
        """The files that go in."""
        folder = self._project.folder
        yield from (
            path for path in (self._project.requirements, folder / PACKAGES) if path.is_file() and _says_something(path)
        )
        found = self._references()
        yield from found.files[1:]
        for package in found.packages:
            yield from sorted(requirements.sources(package))
        if self._has_plugins():
            yield from (
                path
                for path in sorted((folder / PLUGINS).rglob("*"))
                if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
            )

    def _needs_sources(self) -> bool:
        """Whether `requirements.txt` alone is not enough to install what it asks for."""
        found = self._references()
        return len(found.files) > 1 or bool(found.packages)

    def _references(self) -> requirements.References:
        """What `requirements.txt` needs of the project.

        Raises:
            RequirementOutside: not all of it lies there.
        """
        found = requirements.references(self._project.requirements)
        requirements.require_inside(found, self._project.folder)
        return found

    def _certificates(self) -> Path | None:
        """The certificates that this machine's programs trust instead of their own."""
        variables = self._project.environment.variables
        named = [Path(variables[name]) for name in _CERTIFICATE_VARIABLES if variables.get(name)]
        return next((path for path in named if path.is_file()), None)

    def _digest(self) -> str:
        # Another terminal may trust others, and gets the same image.
        lines = [line for line in self.dockerfile().splitlines() if _CERTIFICATES not in line]
        digest = hashlib.sha256("\n".join([*lines, ""]).encode())
        for name, value in sorted(self._project.settings.images.build_arguments.items()):
            digest.update(f"{name}={value}\n".encode())
        for path in self._inputs():
            digest.update(f"{path.relative_to(self._project.folder).as_posix()}\n".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:12]

    def _fill(self, context: Path) -> None:
        """The build's context: these files and nothing else of the project."""
        folder = self._project.folder
        (context / "Dockerfile").write_text(self.dockerfile(), encoding="utf-8")
        for path, name in ((self._project.requirements, REQUIREMENTS), (folder / PACKAGES, PACKAGES)):
            if path.is_file():
                shutil.copyfile(path, context / name)
        found = self._references() if self._needs_sources() else requirements.References()
        packages = [path for package in found.packages for path in requirements.sources(package)]
        for path in (*found.files, *packages):
            copy = context / _SOURCES / path.resolve().relative_to(folder.resolve())
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        certificates = self._certificates()
        if certificates is not None:
            shutil.copyfile(certificates, context / _CERTIFICATES)
        if self._has_plugins():
            shutil.copytree(
                folder / PLUGINS, context / PLUGINS, ignore=shutil.ignore_patterns("__pycache__", ".*"), symlinks=False
            )

    def _has_buildx(self) -> bool:
        try:
            done = run(["docker", "buildx", "version"], variables=self._project.environment.variables, check=False)
        except ProgramMissing:
            return False
        return done.returncode == 0


def _says_something(path: Path) -> bool:
    """Whether a list has any entry besides comments."""
    return bool(re.search(r"^\s*[^#\s]", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE))
