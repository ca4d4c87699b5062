// AWS's Encryption SDK for JavaScript as a server: one JSON request a line in, one JSON answer a line out.
//
// {"do": "encrypt", "data": BASE64, "keys": [KEY, ...], "context": {...}, "suite": NAME, "frameLength": N}
// {"do": "decrypt", "data": BASE64, "keys": [KEY, ...]}
// KEY is {"name", "namespace", "key": BASE64, "utf8Sorting": BOOLEAN} or {"arn", "region", "endpoint"}.
// The answer is {"data": BASE64, "context": {...}}, or {"error": TEXT} where the SDK refuses.

import { createInterface } from 'node:readline'
import {
  AlgorithmSuiteIdentifier, AwsKmsMrkAwareSymmetricKeyringNode, buildClient, CommitmentPolicy, KMS,
  KmsKeyringNode, MultiKeyringNode, RawAesKeyringNode, RawAesWrappingSuiteIdentifier,
} from '@aws-crypto/client-node'

const committing = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
const forbidding = buildClient(CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT) // writes what we must refuse
const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64')) // the SDK wants a key in its own memory

function raw({ name, namespace, key, utf8Sorting = true }) {
  return new RawAesKeyringNode({
    keyName: name,
    keyNamespace: namespace,
    unencryptedMasterKey: bytes(key),
    wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
    utf8Sorting,
  })
}

const clients = new Map()
function client(region, endpoint) {
  const place = `${region} ${endpoint}`
  if (!clients.has(place)) {
    const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
    clients.set(place, new KMS({ region, endpoint, credentials }))
  }
  return clients.get(place)
}

function kms({ arn, region, endpoint }) {
  if (arn.includes(':key/mrk-')) {
    return new AwsKmsMrkAwareSymmetricKeyringNode({ keyId: arn, client: client(region, endpoint) })
  }
  return new KmsKeyringNode({ generatorKeyId: arn, clientProvider: (named) => client(named, endpoint) })
}

function keyring(keys) {
  const [generator, ...children] = keys.map((key) => ('arn' in key ? kms(key) : raw(key)))
  return children.length ? new MultiKeyringNode({ generator, children }) : generator
}

async function encrypt({ data, keys, context, suite, frameLength }) {
  const suiteId = AlgorithmSuiteIdentifier[suite]
  const { encrypt } = suite.includes('COMMIT') ? committing : forbidding
  const settings = { suiteId, frameLength, encryptionContext: context }
  return { data: (await encrypt(keyring(keys), bytes(data), settings)).result.toString('base64') }
}

async function decrypt({ data, keys }) {
  const { plaintext, messageHeader } = await committing.decrypt(keyring(keys), bytes(data))
  return { data: plaintext.toString('base64'), context: messageHeader.encryptionContext }
}

async function answer(request) {
  try {
    return await { encrypt, decrypt }[request.do](request)
  } catch (error) {
    return { error: `${error.name}: ${error.message}` }
  }
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`)
}
