// Judges producers' signatures in a chain export, after docs/format.md alone. First verify the export with verify.mjs:
// what is read here is believed to be the chain. Usage and exit codes: README.md beside it.
import { createHash, verify } from 'node:crypto'
import { readFileSync } from 'node:fs'
const base64 = text => Buffer.from(Buffer.from(text, 'base64').toString('base64') === text ? text : '', 'base64')
const canonical = value => Array.isArray(value) ? `[${value.map(canonical).join(',')}]`
  : value === null || typeof value !== 'object' ? JSON.stringify(value)
    : `{${Object.keys(value).sort().map(name => `${JSON.stringify(name)}:${canonical(value[name])}`).join(',')}}`
function producerKey(vkey, origin) { // undefined: no key of a producer of this chain
  const [, name, at, id, key] = /^([a-z0-9][a-z0-9._-]{0,62})@([^+\s]+)\+([0-9a-f]{8})\+(\S+)$/.exec(vkey) ?? []
  const material = base64(key ?? ''), hash = createHash('sha256').update(`${name}@${at}\n`).update(material).digest('hex')
  if (at !== origin || material.length !== 33 || material[0] !== 1 || hash.slice(0, 8) !== id) return undefined
  return { vkey, label: `${name}+${id}`, named: `${name}@${at}+${id}`, public: material.subarray(1) }
}
function signs(key, entry) { // whether the entry's signature is this key's
  const { written, prev_hash, hash, signature, source, ...event } = entry
  const { authenticated_as, ...rest } = source ?? {}
  if (source && !(authenticated_as !== undefined && Object.keys(rest).length === 0)) event.source = rest
  const message = Buffer.from(`sealstream event signature v1\n${key.named}\n${canonical(event)}`)
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: key.public.toString('base64url') }, value = base64(signature.value)
  return value.length === 64 && verify(null, message, { key: jwk, format: 'jwk' }, value)
}
const within = (scope, entry) => (scope.service === undefined || scope.service === entry.source?.service) &&
  (scope.tenant === undefined || scope.tenant === entry.tenant)
function judge(keys, entry) { // why it is not signed as it should be; undefined: it is, or need not be
  if (!entry.signature) return [...keys.values()].some(key => key.demands && within(key, entry)) ? 'missing' : undefined
  const key = keys.get(entry.signature.key)
  if (!key) return 'unknown'
  if (key.revoked) return 'revoked'
  if (key.expires_at !== undefined && key.expires_at <= entry.written.sequenced_at) return 'expired'
  if (!within(key, entry)) return 'scope'
  return signs(key, entry) ? undefined : 'false'
}
function heed(keys, { action, metadata }, origin) { // a control entry
  if (action === 'producer_key.registered') {
    const key = producerKey(metadata.vkey, origin), known = key && keys.get(key.label)
    if (!key || (known ? known.revoked || known.vkey !== key.vkey : keys.size >= 1000)) return
    const { service, tenant, expires_at, signing } = metadata
    keys.set(key.label, { ...key, service, tenant, expires_at, demands: signing === 'required' })
  } else if (action === 'producer_key.revoked' && keys.has(metadata.key)) {
    const key = keys.get(metadata.key)
    keys.set(metadata.key, { ...key, revoked: true, demands: key.demands && metadata.signing !== 'optional' })
  }
}
function main([exportPath]) {
  const lines = readFileSync(exportPath, 'utf8').split('\n').slice(0, -1), keys = new Map(), signed = {}, faults = []
  const origin = JSON.parse(lines[0]).metadata.origin
  let due, refused = 0 // due: [seq, why], of which the log has to say so
  for (const line of lines) {
    const entry = JSON.parse(line), { kind, seq } = entry.written, { action, metadata } = entry
    if (kind === 'log') {
      if (action !== 'signature.refused') continue
      if (`${due}` !== `${[metadata.seq, metadata.why]}`) faults.push(`entry ${seq}: refuses ${metadata.seq} wrongly`)
      due = undefined
      continue
    }
    if (due) faults.push(`entry ${seq}: nobody said before it that entry ${due[0]} is refused: ${due[1]}`)
    due = undefined
    if (kind === 'control') heed(keys, entry, origin)
    else {
      const why = judge(keys, entry)
      if (why) { due = [seq, why]; refused++ } else if (entry.signature) signed[entry.signature.key] = (signed[entry.signature.key] ?? 0) + 1
    }
  }
  if (faults.length) throw new Error(faults.join('\n'))
  console.log(JSON.stringify({ signed, refused }))
}
try { main(process.argv.slice(2)) } catch (error) { // an error with a code is Node's: a file that is not there
  console.error(error.code ? `could not verify (usage: README.md): ${error.message}` : `FAILED: ${error.message}`)
  process.exit(error.code ? 2 : 1)
}
