"""Ports, names, proxies and VPNs."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from devenv.doctor.check import Check, Finding, failure, ok, warning

if TYPE_CHECKING:
    from devenv.doctor.machine import Machine
    from devenv.project import Project

_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy")
_VPN = re.compile(r"(tun|utun|tap|wg|ppp|cscotun|gpd|zt|ipsec|nordlynx|tailscale|proton)", re.IGNORECASE)
_SERVICES = "10.96.0.0/12"
"""Where Kubernetes' services live in minikube by default."""
_DOCKER_DRIVER = ipaddress.IPv4Network("192.168.49.0/24")
"""The network of minikube's docker driver, unless that is taken."""


def checks(
    machine: Machine,
    project: Project,
    *,
    cluster: bool,
    ours: Callable[[], set[int]],
    node_address: Callable[[], str],
) -> list[Check]:
    """The checks of the network.

    Args:
        machine: the laptop.
        project: for the ports that it asks for.
        cluster: whether the backend is minikube.
        ours: the ports on which this environment answers now.
        node_address: minikube's address, "" where there is none.
    """
    found = [
        Check("ports", "Ports", lambda: ports(machine, project, ours())),
        Check("dns", "Names", lambda: names(machine)),
        Check("proxy", "Proxy", lambda: proxy(machine.environment.variables, node_address() if cluster else "")),
    ]
    if cluster:
        found.append(Check("vpn", "VPN", lambda: vpn(machine, node_address())))
    return found


def ports(machine: Machine, project: Project, ours: set[int]) -> Finding:
    """The ports of the settings: free, or held by this environment itself."""
    wanted = {"airflow": project.settings.ports.airflow, "vault": project.settings.ports.vault}
    taken = []
    for name, port in wanted.items():
        holder = None if port in ours else machine.listener(port)
        if holder is not None:
            taken.append(f"{port} ({name}) by {holder}")
    if taken:
        return warning(
            f"taken: {', '.join(taken)}; devenv takes the next free port",
            "end that program, or set another under [ports] in devenv.toml",
        )
    return ok(", ".join(f"{name} {port}" for name, port in wanted.items()))


def names(machine: Machine) -> Finding:
    """`localhost` is this machine, and the registries' names are known."""
    here = machine.resolve("localhost")
    if not any(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in here):
        said = f"localhost is {', '.join(here)}" if here else "localhost has no address"
        return failure(said, "add `127.0.0.1 localhost` to /etc/hosts")
    if not machine.resolve("registry-1.docker.io"):
        return warning(
            "registry-1.docker.io has no address: offline, or DNS does not answer",
            "images that Docker has already are used; others cannot be pulled",
        )
    return ok("localhost and registry-1.docker.io")


def proxy(variables: Mapping[str, str], node_address: str) -> Finding:
    """With a proxy, NO_PROXY must leave out this machine and minikube; otherwise kubectl and browsers ask the proxy."""
    given = next((f"{name}={variables[name]}" for name in _PROXIES if variables.get(name)), "")
    if not given:
        return ok("none")
    exceptions = variables.get("NO_PROXY") or variables.get("no_proxy") or ""
    needed = ["127.0.0.1", "localhost", *([node_address] if node_address else [])]
    missing = [name for name in needed if not covers(exceptions, name)]
    if node_address and not covers(exceptions, "10.96.0.1"):
        missing.append(_SERVICES)
    if missing:
        now = f"{exceptions}," if exceptions else ""
        return failure(
            f"a proxy is set ({_without_password(given)}) and NO_PROXY lacks {', '.join(missing)}",
            f"export NO_PROXY={now}{','.join(missing)}",
        )
    return ok(f"{_without_password(given)}, and NO_PROXY leaves out this machine")


def covers(exceptions: str, name: str) -> bool:
    """Whether NO_PROXY names a host, as Go's programs read it: names, suffixes, addresses, networks."""
    for part in (item.strip() for item in exceptions.split(",")):
        if part == "*" or part.lstrip(".") == name or (part and name.endswith("." + part.lstrip("."))):
            return True
        if "/" in part:
            try:
                if ipaddress.ip_address(name) in ipaddress.ip_network(part, strict=False):
                    return True
            except ValueError:
                continue
    return False


def vpn(machine: Machine, node_address: str) -> Finding:
    """A VPN whose networks contain minikube's takes its packets away."""
    network = ipaddress.IPv4Network(f"{node_address}/24", strict=False) if node_address else _DOCKER_DRIVER
    routes = _routes(machine.read("/proc/net/route"))
    routes += [
        (name, ipaddress.IPv4Network(f"{address}/{netmask}", strict=False))
        for name, address, netmask in machine.addresses()
    ]
    tunnels = sorted({name for name, _network in routes if _VPN.match(name)})
    if not tunnels:
        return ok("none")
    for name, covered in routes:
        if not _VPN.match(name) or covered.prefixlen < 8 or not covered.overlaps(network):
            continue  # a default route through the VPN leaves a network of this machine alone
        remedy = "leave the VPN, or ask for a split tunnel; minikube start --subnet=… makes another network"
        if covered.prefixlen >= network.prefixlen:
            return failure(f"the VPN on {name} takes {covered}, which is minikube's network", remedy)
        return warning(f"the VPN on {name} claims {covered}, in which minikube's network {network} lies", remedy)
    return ok(f"{', '.join(tunnels)}, which leaves minikube's network {network} alone")


def _routes(table: str) -> list[tuple[str, ipaddress.IPv4Network]]:
    """Interface and network of each line of Linux' `/proc/net/route`: hexadecimal, little-endian."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8:
            continue
        address, netmask = (ipaddress.IPv4Address(bytes.fromhex(fields[at])[::-1]) for at in (1, 7))
        found.append((fields[0], ipaddress.IPv4Network(f"{address}/{netmask}", strict=False)))
    return found


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", text)
