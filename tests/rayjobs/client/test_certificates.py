"""Whether a server behind TLS can be trusted."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_synapse.exceptions import RayAddressError, RayClusterUnreachableError
from airflow_synapse.rayjobs import RayJobExecutor
from tests.support.paces import FAST_PACE
from tests.support.stub_dashboard import StubDashboard

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(autouse=True)
def no_goodbye() -> Iterator[None]:
    """Connections whose loop ended before TLS said goodbye are collected here, where nobody minds."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(new_certificate())
    return path


def new_certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(timezone.utc)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + signed.public_bytes(pem)


@pytest.fixture
def tls_url(certificate: Path) -> Iterator[str]:
    """A server behind TLS that knows one job."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(context) as url:
        yield url


@pytest.fixture
def mutual_url(certificate: Path) -> Iterator[str]:
    """The same, and it asks for a client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    with serving(context) as url:
        yield url


@contextmanager
def serving(context: ssl.SSLContext) -> Iterator[str]:
    body = b'{"status": "RUNNING", "submission_id": "j"}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
        len(body),
        body,
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # clients that don't trust us leave early
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(
        asyncio.start_server(serve, "127.0.0.1", 0, ssl=context), loop
    ).result(10)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def test_certificate_that_can_not_be_verified_is_told(tls_url: str) -> None:
    """A self-signed certificate is refused at once, as only a person can mend that."""
    executor = RayJobExecutor(tls_url, unreachable_timeout=60.0)

    with pytest.raises(RayAddressError, match=r"certificate can't be verified") as caught:
        executor.get_status("j")

    assert tls_url in str(caught.value)
    assert str(caught.value).endswith("set verify to the path of that CA's bundle.")


def test_certificate_is_verified_with_a_bundle_or_not_at_all(
    tls_url: str, certificate: Path
) -> None:
    """A CA bundle that holds it makes it good; ``verify=False`` does not look."""
    assert RayJobExecutor(tls_url, verify=str(certificate)).get_status("j") == "RUNNING"
    assert RayJobExecutor(tls_url, verify=False).get_status("j") == "RUNNING"


def test_bundle_that_can_not_be_read_is_named(tls_url: str, tmp_path: Path) -> None:
    """A wrong path of the CA bundle is told with the path."""
    with pytest.raises(
        RayAddressError, match=r"the CA bundle .*missing\.pem can't be read"
    ) as told:
        RayJobExecutor(tls_url, verify=str(tmp_path / "missing.pem")).get_status("j")

    assert str(told.value).endswith("Give the path of a PEM file that exists on this machine.")


def test_client_certificate_is_shown(mutual_url: str, certificate: Path) -> None:
    """A server that asks who we are gets an answer."""
    executor = RayJobExecutor(mutual_url, verify=str(certificate), client_cert=certificate)

    assert executor.get_status("j") == "RUNNING"


def test_key_may_be_a_file_of_its_own(mutual_url: str, certificate: Path, tmp_path: Path) -> None:
    """Certificate and key come from two files, as cert-manager writes them."""
    head, mark, rest = certificate.read_text().partition("-----BEGIN CERTIFICATE-----")
    (tmp_path / "tls.key").write_text(head)
    (tmp_path / "tls.crt").write_text(mark + rest)

    executor = RayJobExecutor(
        mutual_url,
        verify=str(certificate),
        client_cert=tmp_path / "tls.crt",
        client_key=tmp_path / "tls.key",
    )

    assert executor.get_status("j") == "RUNNING"


def test_missing_client_certificate_is_told(mutual_url: str, certificate: Path) -> None:
    """A server that closes the connection for want of one says nothing, so the error guesses."""
    with pytest.raises(RayClusterUnreachableError, match=r"may want a client certificate"):
        RayJobExecutor(mutual_url, verify=str(certificate)).get_status("j")


def test_client_certificate_that_can_not_be_read_is_named(tls_url: str, tmp_path: Path) -> None:
    """A wrong path is told with the path; a file without a key is told, too."""
    with pytest.raises(RayAddressError, match=r"client certificate .*none\.pem can't be read"):
        RayJobExecutor(tls_url, client_cert=tmp_path / "none.pem").get_status("j")


def test_https_to_a_plain_server_is_told(stub_dashboard: StubDashboard) -> None:
    """``https`` where the dashboard speaks ``http`` is a wrong address, not an outage."""
    url = stub_dashboard.url.replace("http://", "https://")

    with pytest.raises(RayAddressError, match=r"is it https at all.*use http://"):
        RayJobExecutor(url).get_status("j")


def test_http_to_a_tls_server_is_told(tls_url: str) -> None:
    """``http`` where the dashboard speaks ``https`` gives no usable answer."""
    url = tls_url.replace("https://", "http://")

    with pytest.raises(RayClusterUnreachableError, match=url):
        RayJobExecutor(url, request_timeout=2.0).get_status("j")


def test_renewed_certificates_are_read_again(
    mutual_url: str, certificate: Path, tmp_path: Path
) -> None:
    """Files that are renewed are used from the next request on, and half of a file is not."""
    own, bundle = tmp_path / "tls.pem", tmp_path / "ca.pem"
    own.write_bytes(certificate.read_bytes())
    bundle.write_bytes(new_certificate())
    executor = RayJobExecutor(mutual_url, verify=str(bundle), client_cert=own)
    executor.pace = FAST_PACE

    with executor:
        with pytest.raises(RayAddressError, match="can't be verified"):
            executor.get_status("j")
        bundle.write_bytes(certificate.read_bytes())
        time.sleep(FAST_PACE.credentials.file_check)
        assert executor.get_status("j") == "RUNNING"
        own.write_text("half wr")
        time.sleep(FAST_PACE.credentials.file_check)
        assert executor.get_status("j") == "RUNNING"


def test_certificate_that_the_server_renews_first_is_waited_for(
    certificate: Path, tmp_path: Path
) -> None:
    """A server that shows a new certificate before the new CA bundle is here is no wrong address."""
    bundle, other = tmp_path / "ca.pem", tmp_path / "other.pem"
    bundle.write_bytes(certificate.read_bytes())
    other.write_bytes(new_certificate())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    late = threading.Timer(0.1, bundle.write_bytes, [other.read_bytes()])
    with serving(context) as url:
        executor = RayJobExecutor(url, verify=str(bundle))
        executor.pace = FAST_PACE
        with executor:
            executor.get_status("j")
            context.load_cert_chain(other)

            late.start()
            status = executor.get_status("j")
    late.join()

    assert status == "RUNNING"
