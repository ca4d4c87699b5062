"""Open what Strongroom encrypted with AWS's Encryption SDK: Strongroom is not needed.

    pip install 'aws-encryption-sdk[MPL]'
    python open_with_aws_sdk.py MESSAGE KEY [NAME=VALUE ...] > PLAINTEXT

MESSAGE is the file. KEY is the ARN of a key of AWS KMS, or the file of a local key. NAME=VALUE is the context
that was given when it was encrypted.

What was encrypted under a keyring takes two steps, since a keyring is such a message too:

    python open_with_aws_sdk.py app.keyring ARN strongroom-name=app > keys.json
    python open_with_aws_sdk.py MESSAGE keys.json NAME=VALUE > PLAINTEXT
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import boto3
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders, models
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_encryption_sdk import EncryptionSDKClient

PROVIDERS = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
NAMESPACES = {"strongroom-keyset": "strongroom-local", "strongroom-keyring": "strongroom-keyring"}


def main(message: str, key: str, *pairs: str) -> None:
    keyring = kms_keyring(key) if key.startswith("arn:") else local_keyring(key)
    plaintext, header = EncryptionSDKClient().decrypt(source=Path(message).read_bytes(), keyring=keyring)
    # The SDK verifies what the message says of itself. That it is the message you expect, only you can know.
    expected = dict(pair.split("=", 1) for pair in pairs)
    if not expected.items() <= header.encryption_context.items():
        sys.exit(f"the message is authentic, but says of itself {header.encryption_context}")
    sys.stdout.buffer.write(plaintext)


def kms_keyring(arn: str) -> Any:
    client: Any = boto3.client("kms", region_name=arn.split(":")[3])
    return PROVIDERS.create_aws_kms_mrk_keyring(
        models.CreateAwsKmsMrkKeyringInput(kms_key_id=arn, kms_client=client)
    )


def local_keyring(file: str) -> Any:
    """All keys of the file: a keyset has one, a keyring one for each of its versions."""
    document = json.loads(Path(file).read_text())
    prefix = f"{document['id']}/" if "id" in document else ""
    keyrings = [
        PROVIDERS.create_raw_aes_keyring(
            models.CreateRawAesKeyringInput(
                key_namespace=NAMESPACES[document["format"]],
                key_name=prefix + key["name"],
                wrapping_key=base64.b64decode(key["key"]),
                wrapping_alg=models.AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16,
            )
        )
        for key in document["keys"]
    ]
    return PROVIDERS.create_multi_keyring(
        models.CreateMultiKeyringInput(generator=keyrings[0], child_keyrings=keyrings[1:])
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
