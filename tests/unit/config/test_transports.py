"""Upstreams as URLs, whom we trust, and letter case: what is taken, and what is refused with its fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from resolver.config.load import Override, examine, load
from resolver.config.schema import Settings
from resolver.forward.upstreams import SYSTEM, Transport, Upstream
from tests.unit.forward.authority import Authority


def settings_of(folder: Path, forward: str) -> Settings:
    (folder / "pydns.toml").write_text(f"[forward]\n{forward}\n")
    return load(folder / "pydns.toml")


def fault_of(folder: Path, forward: str) -> str:
    (folder / "pydns.toml").write_text(f"[forward]\n{forward}\n")
    _, faults = examine(folder / "pydns.toml")
    assert 1 == len(faults)
    return str(faults[0]).replace(f"{folder}/", "")


def test_upstreams_are_addresses_and_urls(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        'upstreams = ["10.0.0.53", "tcp://[fd00::53]:5353", "tls://10.0.0.53#dns.example", "https://dns.example/q", '
        '"udp://dns.example", "system"]\n'
        'routes = [{ suffix = "corp.example", upstreams = ["tls://dns.corp.example"] }]',
    )

    assert (
        Upstream("10.0.0.53"),
        Upstream("fd00::53", 5353, transport=Transport.TCP),
        Upstream("10.0.0.53", 853, transport=Transport.TLS, name="dns.example"),
        Upstream("", 443, transport=Transport.HTTPS, name="dns.example", path="/q"),
        Upstream("", 53, name="dns.example"),
        SYSTEM,
    ) == settings.upstreams
    (route,) = settings.routes
    assert (Upstream("", 853, transport=Transport.TLS, name="dns.corp.example"),) == route.upstreams


def test_a_flag_takes_urls_too() -> None:
    settings = load(None, [Override(("forward", "upstreams"), ["tls://10.0.0.53"], "--upstream")])

    assert (Upstream("10.0.0.53", 853, transport=Transport.TLS),) == settings.upstreams


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("dns.example", "'dns.example' is no address"),
        ("tls://10.0.0.53:70000", "'tls://10.0.0.53:70000' has port '70000'"),
        ("tls://10.0.0", "'tls://10.0.0' has '10.0.0' where an address or a host name belongs"),
        ("quic://10.0.0.53", "quic:// is no kind of upstream"),
        ("tcp://10.0.0.53#dns.example", "names a certificate, and tcp:// has none; write tls:// or https://"),
        ("tls://10.0.0.53#-", "has '-' where an address or a host name belongs"),
    ],
)
def test_an_upstream_that_is_none_is_refused_with_its_line(tmp_path: Path, written: str, said: str) -> None:
    fault = fault_of(tmp_path, f'upstreams = ["{written}"]')

    assert fault.startswith("pydns.toml:2: forward.upstreams: ")
    assert said in fault
    assert "(write it like 10.0.0.53, tls://10.0.0.53#NAME or system)" in fault


def test_the_authorities_are_read_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    """Text between the certificates, keys and line ends of another system do not matter."""
    one, two = (Authority(tmp_path / name).pem for name in ("one", "two"))
    (tmp_path / "ca.pem").write_bytes(f"Größe\n{one}\nkey\n{two}".replace("\n", "\r\n").encode("latin-1"))

    authorities = settings_of(tmp_path, 'tls_ca = "ca.pem"').authorities

    assert authorities is not None
    assert [*one.split(), *two.split()] == authorities.split()
    assert settings_of(tmp_path, "").authorities is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "'ca.pem' does not exist (correct the path, or leave the key out for the system's authorities)"),
        ("", "'ca.pem' holds no certificate (name a file with certificates in PEM"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "'ca.pem' holds no certificate"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "'ca.pem' holds a certificate that cannot be used: ",
        ),
    ],
)
def test_a_file_without_authorities_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)

    fault = fault_of(tmp_path, 'tls_ca = "ca.pem"')

    assert fault.startswith("pydns.toml:2: forward.tls_ca: ")
    assert said in fault


def test_a_folder_is_no_file_of_authorities(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").mkdir()

    assert "'ca.pem' cannot be read: Is a directory" in fault_of(tmp_path, 'tls_ca = "ca.pem"')


def test_letter_case_is_random_when_somebody_says_so(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "case_randomization = true").case_randomization
    assert not settings_of(tmp_path, "").case_randomization
    assert "case_randomization" in fault_of(tmp_path, 'case_randomization = "yes"')
