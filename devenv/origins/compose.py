"""A compose file with Airflow's services: the release, their environment, and what they mount."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from devenv.origins import dockerfile
from devenv.origins.found import Found, NotTaken
from devenv.origins.homes import Mount, folders_of, inside, python_path_of
from devenv.origins.packages import packages_of
from devenv.origins.text import read_yaml
from devenv.origins.variables import interpolated, read_env_file, taken

NAMES = (
    "docker-compose.yaml",
    "docker-compose.yml",
    "compose.yaml",
    "compose.yml",
    "docker-compose.airflow.yaml",
    "docker-compose.airflow.yml",
    "docker-compose-airflow.yaml",
    "docker-compose-airflow.yml",
)
_PLATFORM = ("postgres", "redis", "statsd", "flower", "pgadmin", "mysql", "airflow")
"""What the services that Airflow itself needs are called; devenv has its own."""
_PACKAGES = "_PIP_ADDITIONAL_REQUIREMENTS"


def read(folder: Path, file: Path) -> Iterator[Found | NotTaken]:
    """What a compose file shows.

    Args:
        folder: of the project.
        file: the compose file; paths in it start at its folder.
    """
    source = file.relative_to(folder).as_posix()
    content = read_yaml(file)
    services = content.get("services") if isinstance(content, dict) else None
    if not isinstance(services, dict):
        return
    values = read_env_file(file.parent / ".env")
    airflows = {
        name: service
        for name, service in services.items()
        if isinstance(service, dict) and _is_airflow(service, values)
    }
    if not airflows:
        return
    yield from _releases(folder, file, airflows, values, source)
    environment = _environment(airflows, values)
    path = environment.pop("PYTHONPATH", None)
    packages = environment.get(_PACKAGES)
    yield from taken(environment, source, below_env_file=False)
    yield from _env_files(folder, file, airflows, values, source)
    mounts = list(_mounts(file, airflows, values))
    yield from folders_of(folder, mounts, source)
    if path:
        yield from python_path_of(folder, path, source)
    if packages:
        yield packages_of(packages.split(), source)
    others = [str(name) for name in services if name not in airflows and not _is_platforms(str(name), services[name])]
    if others:
        yield NotTaken(
            f"the services {', '.join(sorted(others))}",
            source,
            f"docker compose up --detach {' '.join(sorted(others))}   and give DAGs their address in .env",
        )


def _is_airflow(service: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    image = _text(service.get("image"), values)
    if dockerfile.release_of_image(image) or "airflow" in image:
        return True
    environment = _pairs(service.get("environment"))
    volumes = [target for _source, target in _volumes(service, values)]
    return any(name.startswith("AIRFLOW__") for name in environment) or any(
        Mount(Path(), target).below_home is not None for target in volumes
    )


def _is_platforms(name: str, service: Any) -> bool:
    image = str(service.get("image") or "") if isinstance(service, dict) else ""
    kind = image.rpartition("/")[2].partition(":")[0]
    return any(name.startswith(one) for one in ("airflow", "flower")) or kind in _PLATFORM or name in _PLATFORM


def _releases(
    folder: Path, file: Path, services: Mapping[str, Any], values: Mapping[str, str], source: str
) -> Iterator[Found | NotTaken]:
    for service in services.values():
        release = dockerfile.release_of_image(_text(service.get("image"), values))
        build = service.get("build")
        if build is not None:
            build = build if isinstance(build, dict) else {"context": build}
            context = file.parent / _text(build.get("context") or ".", values)
            named = context / _text(build.get("dockerfile") or "Dockerfile", values)
            if inside(named, folder) not in (None, "Dockerfile"):  # that one is read in any case
                yield from dockerfile.read(folder.resolve(), named.resolve())
        elif release is not None:
            yield Found(("airflow", "version"), release, source)


def _environment(services: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, str | None]:
    """Name → value; None for what no `.env` gives, or what the services have different values of.

    An empty value counts for no other one: Airflow's own file has the packages of all services empty for the first.
    """
    found: dict[str, str | None] = {}
    for service in services.values():
        for name, text in _pairs(service.get("environment")).items():
            value = values.get(name) if text is None else interpolated(text, values)
            if found.get(name):
                value = found[name] if value in ("", found[name]) else None
            found[name] = value
    return found


def _pairs(environment: Any) -> dict[str, str | None]:
    """Both ways of writing it: a mapping, and a list of NAME=value."""
    if isinstance(environment, dict):
        return {str(name): None if value is None else str(value) for name, value in environment.items()}
    pairs: dict[str, str | None] = {}
    for line in environment if isinstance(environment, list) else ():
        name, equals, value = str(line).partition("=")
        pairs[name] = value if equals else None
    return pairs


def _env_files(
    folder: Path, file: Path, services: Mapping[str, Any], values: Mapping[str, str], source: str
) -> Iterator[Found | NotTaken]:
    named: dict[str, None] = {}
    for service in services.values():
        given = service.get("env_file")
        for one in given if isinstance(given, list) else [given]:
            path = one.get("path") if isinstance(one, dict) else one
            name = inside(file.parent / _text(path, values), folder) if path else None
            if name is not None and (folder / name).is_file():
                named[name] = None
    first, *others = named or [".env"]
    if first != ".env":
        yield Found(("env_file",), first, source)
    if others:
        yield NotTaken(f"the env files {', '.join(others)}", source, f"devenv reads one: copy their lines into {first}")


def _mounts(file: Path, services: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[Mount]:
    seen: set[tuple[str, str]] = set()
    for service in services.values():
        for pair in _volumes(service, values):
            if pair not in seen:
                seen.add(pair)
                yield Mount(file.parent / pair[0], pair[1])


def _volumes(service: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Source and target of each folder of this machine; a named volume is none."""
    volumes = service.get("volumes")
    for one in volumes if isinstance(volumes, list) else ():
        if isinstance(one, dict):
            source, target = _text(one.get("source"), values), _text(one.get("target"), values)
        else:
            source, _, rest = _text(one, {"AIRFLOW_PROJ_DIR": ".", "PWD": ".", **values}).partition(":")
            target = rest.partition(":")[0]
        if target and source.startswith((".", "/")):
            yield source, target


def _text(value: Any, values: Mapping[str, str]) -> str:
    return (interpolated(value, values) or "") if isinstance(value, str) else ""
