"""A cluster behind TLS, as docs/cluster.md sets it up: with a certificate it is one like any other, without it is shut."""

import json
import shutil
import subprocess

import pytest

import tiny
from dask_cluster import Cluster
from test_workers import stored

pytest.importorskip("distributed", reason="the extra cluster is not installed")
OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="certificates are made with openssl")


def certificates(folder, name):
    """Dask's configuration of both sides with a certificate that an authority, called ``name``, signed."""
    ca, cert, key, asked = (folder / f"{name}-{kind}.pem" for kind in ("ca", "cert", "key", "asked"))
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    authority_key = folder / f"{name}-authority.pem"
    openssl("req", "-x509", *curve, "-days", 2, "-subj", f"/CN={name}", "-keyout", authority_key, "-out", ca)
    openssl("req", *curve, "-subj", "/CN=hwsim", "-keyout", key, "-out", asked)
    openssl(
        "x509", "-req", "-days", 2, "-in", asked, "-CA", ca, "-CAkey", authority_key, "-CAcreateserial", "-out", cert
    )  # fmt: skip
    tls = "DASK_DISTRIBUTED__COMM__TLS__"
    sides = ("SCHEDULER", "WORKER", "CLIENT")
    return {
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true",
        f"{tls}CA_FILE": str(ca),
        **{f"{tls}{side}__CERT": str(cert) for side in sides},
        **{f"{tls}{side}__KEY": str(key) for side in sides},
    }


def openssl(*arguments):
    subprocess.run([OPENSSL, *map(str, arguments)], check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def secured(tmp_path_factory, synthesis_cache):
    """A cluster of a scheduler and a worker behind TLS, and what a client of it needs."""
    folder = tmp_path_factory.mktemp("tls")
    trusted = certificates(folder, "trusted")
    started = Cluster(folder, synthesis_cache, workers=1, protocol="tls", **trusted)
    yield started, trusted | {"HWSIM_CACHE": str(synthesis_cache)}
    started.close()


def explored(folder, address, **environment):
    return tiny.hwsim(
        "explore", "study.toml", "-o", "out", "--json", "--cluster", address, cwd=folder, **environment
    )


def test_a_cluster_behind_tls_evaluates_the_bytes_of_the_serial_run(secured, tmp_path):
    cluster, trusted = secured
    assert cluster.address.startswith("tls://127.0.0.1:")
    done = explored(tiny.write(tmp_path), cluster.address, **trusted)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["evaluated"] == 10
    alone = tiny.hwsim("explore", "study.toml", "-o", "alone", "--workers", 0, cwd=tmp_path, **trusted)
    assert alone.returncode == 0, alone.stderr
    assert stored(tmp_path / "out") == stored(tmp_path / "alone")


@pytest.mark.parametrize("who", ["nobody", "stranger", "careless", "open"])
def test_who_has_no_certificate_of_the_cluster_is_answered_in_one_sentence(secured, tmp_path, who):
    (cluster, trusted), folder = secured, tiny.write(tmp_path)
    plain = cluster.address.replace("tls", "tcp")
    address, environment, sentence = {
        "nobody": (
            cluster.address,
            {},
            f"{cluster.address} asks for a certificate (none is configured); name CA_",
        ),
        "stranger": (cluster.address, certificates(folder, "strange"), "no Dask scheduler answers at tls://"),
        "careless": (
            cluster.address,
            {name: value.replace("-key", "-lost") for name, value in trusted.items()},
            f"{cluster.address} asks for a certificate (FileNotFoundError: ",
        ),
        "open": (plain, {}, f"no Dask scheduler answers at {plain} ("),
    }[who]
    done = explored(folder, address, **environment)
    print(done.stderr)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"hwsim: {sentence}")
    assert done.stderr.count("\n") == 1
    assert not (folder / "out").exists()
