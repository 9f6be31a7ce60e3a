"""``medfuse bundle verify``, ``sign`` and ``export``."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

SUMMARY = "verify or sign a bundle, or export it for another program"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_verify(actions)
    _add_sign(actions)
    _add_export(actions)


def run(arguments: argparse.Namespace) -> int:
    """Print what the action found or wrote; 1 if a check failed."""
    return {"verify": _verify, "sign": _sign, "export": _export}[arguments.action](arguments)


def _add_verify(actions: Any) -> None:
    verify = actions.add_parser(
        "verify",
        help="check a bundle where medfuse cannot be imported",
        description="Run all checks in one process that cannot import medfuse. "
        "The bundle's code is executed if its files are as they were written: verify only what "
        "you trust, or whose signature you check.",
    )
    verify.add_argument(
        "bundle", help="folder <name>_classification, or of a run, or a ZIP archive"
    )
    verify.add_argument(
        "--trusted-key", metavar="FILE", help="public keys (ssh-ed25519), one of which signed it"
    )
    verify.add_argument(
        "--unpack", metavar="DIR", help="of an archive, where the bundle goes if all is right"
    )
    verify.add_argument("--schema", metavar="FILE", help="MONAI's public schema of metadata.json")
    verify.add_argument(
        "--timeout", type=float, default=600.0, metavar="SECONDS", help="for all checks (600)"
    )
    verify.add_argument("--json", action="store_true", help="machine-readable result")


def _add_sign(actions: Any) -> None:
    sign = actions.add_parser(
        "sign",
        help="sign the digests of a bundle",
        description="Write SHA256SUMS.sig into a bundle: a signature of OpenSSH over the digests "
        "of all its files. 'ssh-keygen -Y verify -n medfuse-bundle' reads it too.",
    )
    sign.add_argument("bundle", help="folder <name>_classification, or of a run")
    sign.add_argument(
        "--key", required=True, metavar="FILE", help="private key (ssh-keygen -t ed25519)"
    )


def _add_export(actions: Any) -> None:
    from medfuse.bundle.export import KINDS

    export = actions.add_parser(
        "export",
        help="write a folder from which another program serves a bundle",
        description="Write a folder from which another program serves a bundle: "
        + "; ".join(f"'{name}' is {kind.summary}" for name, kind in KINDS.items())
        + ". The bundle is copied into it; nothing of it is executed, and what is there already is "
        "never replaced. Exporters of plugins go by their own names ('medfuse plugins list').",
    )
    export.add_argument("bundle", help="folder <name>_classification, or of a run")
    export.add_argument(
        "--for",
        dest="kind",
        required=True,
        metavar="NAME",
        help=f"{', '.join(KINDS)}, or an exporter of a plugin",
    )
    export.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of a plugin's exporter; repeat",
    )
    export.add_argument("--out", required=True, metavar="DIR", help="new folder for it")
    export.add_argument(
        "--accept-license",
        action="append",
        default=[],
        metavar="SPDX",
        help="keep to a license of its weights that restricts their use; repeat",
    )
    export.add_argument("--json", action="store_true", help="machine-readable result")


def _verify(arguments: argparse.Namespace) -> int:
    from medfuse.bundle import verify_bundle
    from medfuse.serving.inputs import bundle_in

    of_a_run = Path(arguments.bundle, "bundle").is_dir()
    report = verify_bundle(
        bundle_in(arguments.bundle) if of_a_run else arguments.bundle,
        arguments.schema,
        arguments.timeout,
        trusted_key=arguments.trusted_key,
        unpack_to=arguments.unpack,
    )
    if arguments.json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        width = max(len(check.name) for check in report.checks)
        for check in report.checks:
            code = f"{check.code}: " if check.code else ""
            print(f"{check.status:8} {check.name:{width}}  {code}{check.detail}")
    return 0 if report.ok else 1


def _sign(arguments: argparse.Namespace) -> int:
    from getpass import getpass

    from medfuse.bundle.signing import sign_bundle
    from medfuse.serving.inputs import bundle_in

    root = bundle_in(arguments.bundle)
    signer = sign_bundle(root, arguments.key, lambda: getpass(f"passphrase of {arguments.key}: "))
    print(f"signed   {root} by {signer}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from medfuse.bundle.export import export_bundle
    from medfuse.config import with_overrides
    from medfuse.serving.inputs import bundle_in

    done = export_bundle(
        bundle_in(arguments.bundle),
        arguments.kind,
        arguments.out,
        arguments.accept_license,
        with_overrides({}, arguments.set),
    )
    if arguments.json:
        print(json.dumps({**vars(done), "folder": str(done.folder)}, indent=2))
        return 0
    hint = " (see README.md and requirements.txt in it)" if done.start else ""
    print(f"written  {done.folder}{hint}")
    for remark in done.remarks:
        print(f"note     {remark}")
    if done.start:
        print(f"start    cd {shlex.quote(str(done.folder))} && {done.start}")
    return 0
