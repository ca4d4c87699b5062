// Open what Strongroom encrypted with AWS's Encryption SDK: Strongroom is not needed.
//
//     npm install @aws-crypto/client-node
//     node open_with_aws_sdk.mjs MESSAGE KEY [NAME=VALUE ...] > PLAINTEXT
//
// MESSAGE is the file. KEY is the ARN of a key of AWS KMS, or the file of a local key. NAME=VALUE is the context
// that was given when it was encrypted.
//
// What was encrypted under a keyring takes two steps, since a keyring is such a message too:
//
//     node open_with_aws_sdk.mjs app.keyring ARN strongroom-name=app > keys.json
//     node open_with_aws_sdk.mjs MESSAGE keys.json NAME=VALUE > PLAINTEXT

import { readFileSync } from 'node:fs'
import {
  AwsKmsMrkAwareSymmetricKeyringNode, buildClient, CommitmentPolicy, KMS, MultiKeyringNode,
  RawAesKeyringNode, RawAesWrappingSuiteIdentifier,
} from '@aws-crypto/client-node'

const NAMESPACES = { 'strongroom-keyset': 'strongroom-local', 'strongroom-keyring': 'strongroom-keyring' }

const [message, key, ...pairs] = process.argv.slice(2)
const keyring = key.startsWith('arn:') ? kmsKeyring(key) : localKeyring(key)
const { decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
const { plaintext, messageHeader } = await decrypt(keyring, readFileSync(message))

// The SDK verifies what the message says of itself. That it is the message you expect, only you can know.
const said = messageHeader.encryptionContext
const expected = pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)])
if (!expected.every(([name, value]) => said[name] === value)) {
  console.error(`the message is authentic, but says of itself ${JSON.stringify(said)}`)
  process.exit(1)
}
process.stdout.write(plaintext)

function kmsKeyring(arn) {
  return new AwsKmsMrkAwareSymmetricKeyringNode({ keyId: arn, client: new KMS({ region: arn.split(':')[3] }) })
}

// All keys of the file: a keyset has one, a keyring one for each of its versions.
function localKeyring(file) {
  const { format, id, keys } = JSON.parse(readFileSync(file, 'utf8'))
  const children = keys.map(({ name, key }) => new RawAesKeyringNode({
    keyNamespace: NAMESPACES[format],
    keyName: id ? `${id}/${name}` : name,
    unencryptedMasterKey: Uint8Array.from(Buffer.from(key, 'base64')),
    wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
    utf8Sorting: true, // otherwise a context beyond ASCII may be taken in another order
  }))
  return new MultiKeyringNode({ children })
}
