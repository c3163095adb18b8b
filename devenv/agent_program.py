"""The agent as it travels: its modules in one zip, and the command that takes them from standard input."""

from __future__ import annotations

import functools
import io
import zipfile
from pathlib import Path

from devenv import agent

# An exec command travels in a URL, so this must stay short; the program itself follows on standard input.
_BOOTSTRAP = """\
import hashlib,os,stat,struct,sys,tempfile
def r(n):
 b=b''
 while len(b)<n:
  d=os.read(0,n-len(b))
  if not d:sys.exit('devenv-agent: the program did not arrive')
  b+=d
 return b
z=r(struct.unpack('>I',r(4))[0])
u=os.getuid()
f=os.path.join(tempfile.gettempdir(),'devenv-agent-%d'%u)
os.makedirs(f,0o700,exist_ok=True)
s=os.lstat(f)
if not stat.S_ISDIR(s.st_mode) or s.st_uid!=u or s.st_mode&63:f=tempfile.mkdtemp()
p=os.path.join(f,hashlib.sha256(z).hexdigest()[:16]+'.zip')
if not os.path.exists(p):
 t='%s.%d'%(p,os.getpid())
 with open(t,'wb') as o:o.write(z)
 os.replace(t,p)
sys.path.insert(0,p)
from devenv.agent.session import main
main()
"""


TASKS = "tasks.session"
"""The module of the agent that runs tasks; see `agent_command`."""


@functools.cache
def program() -> bytes:
    """The agent as a zip of its modules; the same bytes as long as they are the same."""
    folder = Path(agent.__file__).resolve().parent
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("devenv/__init__.py"), "")
        for module in sorted(folder.rglob("*.py")):
            entry = zipfile.ZipInfo(f"devenv/agent/{module.relative_to(folder).as_posix()}")
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, module.read_bytes())
    return packed.getvalue()


def agent_command(python: str = "python3", *, module: str = "session") -> list[str]:
    """What to run beside the volume: a Python that reads the agent from its standard input, and runs this module."""
    return [python, "-u", "-c", _BOOTSTRAP.replace("devenv.agent.session", f"devenv.agent.{module}")]


def sent(body: bytes) -> bytes:
    """A program as `agent_command` reads it: its length first."""
    return len(body).to_bytes(4, "big") + body
