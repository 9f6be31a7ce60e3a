from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from unittest.mock import patch

import pytest

from medfuse.bundle.digests import SIGNATURE, write_digests
from medfuse.bundle.signing import check_signed, sign_bundle
from medfuse.bundle.verifier.failure import CheckFailedError, CheckSkippedError
from medfuse.bundle.verifier.file_checks import check_signature
from medfuse.bundle.verifier.subject import Bundle
from medfuse.cli.main import run
from medfuse.errors import BundleError, ConfigError

pytest.importorskip("cryptography")
pytest.importorskip("bcrypt")
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

SHIPPED = "chest-xray_classification"
NO_SSH = pytest.mark.skipif(
    not shutil.which("ssh-keygen"), reason="promise not shown: no ssh-keygen here"
)


def new_key(path: Path, kind: object = ed25519.Ed25519PrivateKey, secret: bytes = b"") -> Path:
    made = kind.generate() if hasattr(kind, "generate") else ec.generate_private_key(ec.SECP256R1())
    locked = (
        serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    )
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH
    path.write_bytes(made.private_bytes(encoding, form, locked))
    path.chmod(0o600)
    public = made.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    path.with_suffix(".pub").write_bytes(public + b" ward@example.org\n")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny_classification"
    (folder / "configs").mkdir(parents=True)
    (folder / "LICENSE").write_text("free\n")
    write_digests(folder)
    return folder


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return new_key(tmp_path / "key")


def checked(root: Path, trusted: Path | None = None) -> str:
    settings = {"bundle": str(root), "work": "", "schema": None, "trusted_key": trusted}
    return check_signature(Bundle(settings))


def refused(root: Path, trusted: Path) -> str:
    with pytest.raises(CheckFailedError) as error:
        checked(root, trusted)
    return error.value.code


def test_a_signature_of_a_trusted_key_passes_and_names_it(root: Path, key: Path) -> None:
    signer = sign_bundle(root, key)
    assert signer.startswith("SHA256:")
    assert checked(root, key.with_suffix(".pub")) == f"signed by {signer}, which is trusted"


def test_without_a_key_it_is_said_who_signed_and_that_nobody_checked(root: Path, key: Path) -> None:
    with pytest.raises(CheckSkippedError, match="unsigned: who can edit"):
        checked(root)
    signer = sign_bundle(root, key)
    with pytest.raises(CheckSkippedError) as said:
        checked(root)
    assert str(said.value) == f"signed by {signer}, not checked (--trusted-key FILE)"


def test_digests_that_somebody_wrote_anew_are_refused(root: Path, key: Path) -> None:
    sign_bundle(root, key)
    kept = (root / SIGNATURE).read_bytes()
    (root / "LICENSE").write_text("mine\n")
    write_digests(root)
    assert refused(root, key.with_suffix(".pub")) == "UNSIGNED"
    (root / SIGNATURE).write_bytes(kept)
    assert refused(root, key.with_suffix(".pub")) == "BAD_SIGNATURE"


def test_another_key_and_another_purpose_are_refused(root: Path, key: Path, tmp_path: Path) -> None:
    sign_bundle(root, new_key(tmp_path / "other"))
    assert refused(root, key.with_suffix(".pub")) == "UNTRUSTED_KEY"
    both = tmp_path / "keys"
    texts = [(tmp_path / name).read_text() for name in ("key.pub", "other.pub")]
    both.write_text("# trusted\n" + "".join(texts))
    assert checked(root, both)
    text = (root / SIGNATURE).read_text()
    (root / SIGNATURE).write_text(text.replace("SSHSIG", "SSHSIX", 1).replace("U1NI", "U1NJ", 1))
    assert refused(root, both) == "BAD_SIGNATURE"
    (root / SIGNATURE).write_text("signed, promised\n")
    assert refused(root, both) == "BAD_SIGNATURE"
    both.write_text("no key\n")
    assert refused(root, both) == "NO_KEY"


def test_one_byte_of_a_signature_is_enough(root: Path, key: Path) -> None:
    import base64

    sign_bundle(root, key)
    text = (root / SIGNATURE).read_text().splitlines()
    blob = base64.b64decode("".join(text[1:-1]))
    for place in range(0, len(blob), 3):
        changed = bytearray(blob)
        changed[place] ^= 1
        body = base64.b64encode(changed).decode()
        (root / SIGNATURE).write_text("\n".join([text[0], body, text[-1]]))
        assert refused(root, key.with_suffix(".pub")) in ("BAD_SIGNATURE", "UNTRUSTED_KEY")


def test_keys_that_cannot_sign_are_refused_in_words(root: Path, tmp_path: Path) -> None:
    locked = new_key(tmp_path / "locked", secret=b"open")
    with pytest.raises(ConfigError, match="no private key of OpenSSH that can be opened"):
        sign_bundle(root, locked)
    with pytest.raises(ConfigError, match="or give its passphrase"):
        sign_bundle(root, locked, lambda: "wrong")
    assert sign_bundle(root, locked, lambda: "open")
    with (
        patch("medfuse.bundle.signing.find_spec", return_value=None),
        pytest.raises(ConfigError, match="its passphrase needs bcrypt, which is not installed"),
    ):
        sign_bundle(root, locked, lambda: "open")
    with pytest.raises(ConfigError, match="expected an Ed25519 key"):
        sign_bundle(root, new_key(tmp_path / "curve", "EC"))
    with pytest.raises(ConfigError, match="cannot be read"):
        sign_bundle(root, tmp_path / "absent")


def test_a_changed_bundle_is_not_signed(root: Path, key: Path) -> None:
    (root / "LICENSE").write_text("mine\n")
    with pytest.raises(BundleError, match="CHANGED_FILE"):
        sign_bundle(root, key)
    assert not (root / SIGNATURE).exists()


def test_the_command_says_who_signed(root: Path, key: Path, capsys) -> None:
    assert run(["bundle", "sign", str(root), "--key", str(key)]) == 0
    assert capsys.readouterr().out.startswith(f"signed   {root} by SHA256:")


@NO_SSH
def test_openssh_verifies_what_medfuse_signed(root: Path, key: Path, tmp_path: Path) -> None:
    sign_bundle(root, key)
    signers = tmp_path / "allowed_signers"
    signers.write_text(f"ward@example.org {key.with_suffix('.pub').read_text()}")
    command = ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", "ward@example.org"]
    command += ["-n", "medfuse-bundle", "-s", str(root / SIGNATURE)]
    sums = (root / "SHA256SUMS").read_bytes()
    assert subprocess.run(command, input=sums, capture_output=True, check=False).returncode == 0
    changed = subprocess.run(command, input=sums + b" ", capture_output=True, check=False)
    assert changed.returncode != 0
    assert checked(root, signers)


@NO_SSH
def test_medfuse_verifies_what_openssh_signed(root: Path, tmp_path: Path) -> None:
    key = tmp_path / "stock"
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(make, check=True, capture_output=True)
    sign = ["ssh-keygen", "-Y", "sign", "-f", str(key), "-n", "medfuse-bundle"]
    subprocess.run([*sign, str(root / "SHA256SUMS")], check=True, capture_output=True)
    assert checked(root, tmp_path / "stock.pub")
    listed = subprocess.run(["ssh-keygen", "-lf", f"{key}.pub"], capture_output=True, check=True)
    assert checked(root, tmp_path / "stock.pub").split()[2].strip(",") in listed.stdout.decode()


@pytest.fixture
def shipped(repository: Path, tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    return shutil.copytree(repository / "bundles" / SHIPPED, tmp_path / SHIPPED, ignore=ignored)


def test_a_bundle_that_the_key_signed_predicts(shipped: Path, key: Path, capsys) -> None:
    sign_bundle(shipped, key)
    image = next((shipped / "examples" / "images").iterdir())
    signed = ["--trusted-key", str(key.with_suffix(".pub"))]
    assert run(["predict", str(shipped), str(image), *signed]) == 0
    assert image.name in capsys.readouterr().out


def test_nothing_of_an_unsigned_or_foreign_bundle_is_executed(
    shipped: Path, key: Path, tmp_path: Path, capsys
) -> None:
    image = str(next((shipped / "examples" / "images").iterdir()))
    signed = ["--trusted-key", str(key.with_suffix(".pub"))]
    with patch("medfuse.serving.predict.open_bundle") as opened:
        for sign, code in ((False, "UNSIGNED"), (True, "UNTRUSTED_KEY")):
            if sign:
                sign_bundle(shipped, new_key(tmp_path / "other"))
            for command in ("predict", "evaluate", "explain"):
                out = ["--out", str(tmp_path / command)]
                assert run([command, str(shipped), image, *out, *signed]) == 1
                assert f"({code}). Nothing of it was executed" in capsys.readouterr().err
                assert not (tmp_path / command).exists()
            assert run(["evaluate", str(shipped), image, "--drift-only", *out, *signed]) == 1
            assert code in capsys.readouterr().err
    opened.assert_not_called()


def test_digests_written_anew_after_signing_are_refused(shipped: Path, key: Path) -> None:
    sign_bundle(shipped, key)
    signature = (shipped / "SHA256SUMS.sig").read_bytes()
    (shipped / "LICENSE").write_text("mine\n")
    write_digests(shipped)
    (shipped / "SHA256SUMS.sig").write_bytes(signature)
    with pytest.raises(BundleError, match="BAD_SIGNATURE"):
        check_signed(shipped, key.with_suffix(".pub"))


def test_a_file_without_a_key_is_refused_in_words(shipped: Path, key: Path, tmp_path: Path) -> None:
    sign_bundle(shipped, key)
    cut, empty = tmp_path / "cut.pub", tmp_path / "empty.pub"
    cut.write_text(key.with_suffix(".pub").read_text()[:60])
    empty.write_text("")
    for file, found in (
        (tmp_path / "none.pub", "no such file"),
        (tmp_path, "no file that can be read (Is a directory)"),
        (key, "a private key"),
        (empty, "no such key in it"),
        (cut, "no such key in it"),
    ):
        with pytest.raises(ConfigError) as error:
            check_signed(shipped, file)
        assert f"--trusted-key {file}: found {found}, expected" in str(error.value)


def test_a_signature_without_digests_is_refused(shipped: Path, key: Path, capsys) -> None:
    sign_bundle(shipped, key)
    (shipped / "SHA256SUMS").unlink()
    signed = ["--trusted-key", str(key.with_suffix(".pub"))]
    assert run(["predict", str(shipped), str(shipped), *signed]) == 1
    assert "SHA256SUMS: cannot be read (NO_LIST). Nothing of it" in capsys.readouterr().err
