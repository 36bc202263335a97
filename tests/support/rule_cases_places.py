"""Cases of the CRD's rules on places: of models, data, outputs and tags."""

from __future__ import annotations

from spec_fields import (
    CLAIM,
    DIGEST,
    MODEL,
    STORE,
    WEB,
    ZIP,
    Case,
    archives,
    calibration,
    oci,
    references,
)

NO_KEYS = "a claim is mounted without credentials: leave credentialsSecretRef out"
NOT_SENT = "no credentials are sent to https:// places: leave credentialsSecretRef out"
KEYLESS = "claims and web servers are read without credentials: leave credentialsSecretRef out"
NEEDS_DIGEST = "data on a web server, or in an archive, needs sha256: the digest of the file"
ONE_FILE = "with sha256, uri is one file, a .zip, .tar, .tar.gz, .tgz, .npz or .npy"
SEPARATE = "references.uri and uri must be separate folders, neither inside the other"
ANONYMOUS = "credentials: Anonymous is for s3:// places alone"
PATHS = "no part of a path in a claim is empty, . or .."
TAGS: list[Case] = [
    (oci(tags=["a", "b"]), oci(tags=["a", "a"]), "each tag may be named once"),
]
SOURCES: list[Case] = [
    (
        {"model": MODEL | {"uri": WEB}},
        {"model": MODEL | {"uri": WEB, "credentialsSecretRef": {"name": "store"}}},
        NOT_SENT,
    ),
    (calibration(ZIP, **DIGEST), calibration(ZIP), NEEDS_DIGEST),
    (calibration("pvc://data/a.tgz#b", **DIGEST), calibration("pvc://data/a.tgz#b"), NEEDS_DIGEST),
    (calibration(ZIP, **DIGEST), calibration(ZIP, **DIGEST, **STORE), NOT_SENT),
    *(
        (
            calibration(f"s3://data/images{end}", **DIGEST),
            calibration("s3://data/images/", **DIGEST),
            ONE_FILE,
        )
        for end in (".zip", ".tar", ".tar.gz#a/b", ".tgz#a", ".npz", ".npy")
    ),
    (calibration(f"{ZIP}#a", **DIGEST), calibration(f"{ZIP}.npz#a", **DIGEST), ONE_FILE),
    (archives(f"{ZIP}#a", f"{ZIP}#b"), archives(f"{ZIP}#a", ZIP), SEPARATE),
    (archives(f"{ZIP}#a", f"{ZIP}#ab"), archives(f"{ZIP}#a", f"{ZIP}#a/b"), SEPARATE),
    (
        archives(ZIP, "s3://data/truth.zip", **STORE),
        archives(ZIP, "pvc://data/truth.zip", **STORE),
        KEYLESS,
    ),
    (
        references("s3://truth", ZIP, **DIGEST),
        references(ZIP, "s3://data/images/"),
        NEEDS_DIGEST,
    ),
    (
        {"model": MODEL | {"uri": CLAIM}},
        {"model": MODEL | {"uri": CLAIM, "credentialsSecretRef": {"name": "store"}}},
        NO_KEYS,
    ),
    *(
        ({"model": MODEL | {"uri": CLAIM}}, {"model": MODEL | {"uri": f"pvc://{path}"}}, PATHS)
        for path in ("models/../x", "models/a/..", "models//a", "models/./a", "models/a//")
    ),
    (
        calibration("pvc://data/a/"),
        {"data": {"calibration": {"uri": "pvc://data", "credentialsSecretRef": {"name": "store"}}}},
        NO_KEYS,
    ),
    (
        calibration("pvc://data"),
        calibration("pvc://data/.."),
        PATHS,
    ),
    (
        # The references are read with them.
        references("s3://truth", "pvc://data", credentialsSecretRef={"name": "store"}),
        references("pvc://truth", "pvc://data", credentialsSecretRef={"name": "store"}),
        KEYLESS,
    ),
    (
        {"model": MODEL | {"credentials": "Anonymous", "credentialsSecretRef": {"name": "where"}}},
        {"model": MODEL | {"uri": WEB, "credentials": "Anonymous"}},
        ANONYMOUS,
    ),
    (
        {
            "model": MODEL
            | {"uri": "oci://registry.test/a:v1", "credentialsSecretRef": {"name": "pull"}}
        },
        {"model": MODEL | {"uri": "oci://registry.test/a:v1", "credentials": "Anonymous"}},
        ANONYMOUS,
    ),
    (
        calibration("s3://data", credentials="Anonymous"),
        calibration("pvc://data", credentials="Anonymous"),
        ANONYMOUS,
    ),
    (
        references("s3://truth", "pvc://data", credentials="Anonymous"),
        references("pvc://truth", "pvc://data", credentials="Anonymous"),
        ANONYMOUS,
    ),
    (
        {"output": {"uri": "pvc://out/sr"}},
        {"output": {"uri": "pvc://out/sr", "credentialsSecretRef": {"name": "store"}}},
        NO_KEYS,
    ),
    ({"output": {"uri": "pvc://out"}}, {"output": {"uri": "pvc://out/.."}}, PATHS),
    (references("pvc://data/t"), references("pvc://data/../t"), PATHS),
    (
        references("pvc://data/t", "pvc://data/e/"),
        references("pvc://data/t", "pvc://data/../e/"),
        PATHS,
    ),
]
SEPARATE_FOLDERS: list[Case] = [
    (
        # One name begins with the other; the folder does not.
        references("s3://data/images-truth/"),
        references("s3://data/images/"),
        "references.uri and uri must be separate folders, neither inside the other",
    ),
    (
        references("s3://data/images-truth", "s3://data/images"),
        references("s3://data/images/truth/", "s3://data/images"),
        "references.uri and uri must be separate folders, neither inside the other",
    ),
    (
        references("s3://truth"),
        references("s3://data"),
        "references.uri and uri must be separate folders, neither inside the other",
    ),
]
