"""Which names of a view have a plain answer: one that follows from what its dictionaries have about the name."""

from __future__ import annotations

from resolver.pipeline.chain import Chain
from resolver.pipeline.podman import SearchDomain
from resolver.pipeline.stages import ExtraHosts, InternalNames, RegistryNames, ReverseNames
from resolver.registry.table import HostTable, NetworkTable
from resolver.views import View
from resolver.wire.known import ASIDE, ENDPOINTS, HOSTS, OF_SUFFIX, Known, Step
from resolver.wire.name import ROOT, WireName, label_count

MOST_STEPS = 100
"""A name that is not there is looked for in each step before Python does the same again."""


def plain_in(chain: Chain, view: View) -> Known | None:
    """Where to look for plain names in a view, in the order of the chain's stages; None when only the chain can tell.

    That is so for who has links, which hide names, and where wildcards or another stage have a say before the names.
    """
    if any(view.links.values()):
        return None
    if view.settings.joins_networks and any(table.has_wildcards for table in view.tables):
        return None
    steps: list[Step] = []
    for place, stage in enumerate(chain.stages):
        match stage:
            case ExtraHosts():
                if view.extra_hosts:
                    steps.append(Step(None, view.extra_hosts, ASIDE, 0))
            case InternalNames():
                steps.extend(Step(zone, None, ASIDE, 0) for zone in stage.zones)
            case SearchDomain():
                steps += [*_steps(view, stage.domain), Step(stage.domain, None, ASIDE, 0), *_steps(view, None)]
                return _known(steps, view, stage.name)
            case RegistryNames():
                steps += _steps(view, None)
                known = _known(steps, view, stage.name)
                after = chain.stages[place + 1] if place + 1 < len(chain.stages) else None
                if known is None or not isinstance(after, ReverseNames):
                    return known
                return known._replace(reverse_stage=after.name, holder_of=view.holders.find)
            case _:
                return None
    return None


def _known(steps: list[Step], view: View, stage: str) -> Known | None:
    if len(steps) > MOST_STEPS:
        return None
    return Known(tuple(steps), view.settings.joins_networks, stage, view.serial, view.settings.negative_ttl)


def _steps(view: View, domain: WireName | None) -> list[Step]:
    """As `View.find`; below a domain names mean what they mean without it."""
    steps: list[Step] = []
    for table in view.tables:
        steps += _of_network(view, table, domain, ENDPOINTS)
    if domain is None:
        for suffix, table in sorted(view.by_suffix.items(), key=lambda item: label_count(item[0])):
            steps += _of_network(view, table, suffix, ENDPOINTS + OF_SUFFIX)
    elif view.by_suffix:
        return [Step(domain, None, ASIDE, 0)]  # both one after the other is not plain
    return [*steps, *_of_hosts(view, view.hosts, domain)]


def _of_network(view: View, table: NetworkTable, suffix: WireName | None, kind: int) -> list[Step]:
    ttl = view.settings.ttl if table.network.ttl is None else table.network.ttl
    found = [Step(suffix, table.names, kind, ttl)]
    if table.has_wildcards:  # which may have what its names have not
        found.append(Step(suffix or ROOT, None, ASIDE, 0))
    return found


def _of_hosts(view: View, hosts: HostTable, domain: WireName | None) -> list[Step]:
    return [Step(domain, hosts.names, HOSTS, view.settings.ttl)] if hosts.names else []
