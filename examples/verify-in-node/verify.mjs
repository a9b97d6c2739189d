// Verifies a chain export with nothing but Node: hashes, links, canonical bytes, Merkle root and Ed25519 signature.
// Written from docs/format.md alone; shares no code with Sealstream. Usage and exit codes: README.md beside this file.
import { createHash, verify } from 'node:crypto'
import { readFileSync } from 'node:fs'

const sha256 = (...parts) => createHash('sha256').update(Buffer.concat(parts)).digest()
const fail = (place, what) => { throw new Error(`${place}: ${what}`) }
const base64 = text => { const data = Buffer.from(text, 'base64'); return data.toString('base64') === text ? data : Buffer.alloc(0) }

function canonical(value) { // RFC 8785, and integers within 2^53-1
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (value !== null && typeof value === 'object')
    return `{${Object.keys(value).sort().map(name => `${canonical(name)}:${canonical(value[name])}`).join(',')}}`
  if (typeof value === 'number' && !(Math.abs(value) <= Number.MAX_SAFE_INTEGER)) throw new Error(`the number ${value}`)
  if (typeof value === 'string' && !value.isWellFormed()) throw new Error('a lone surrogate')
  return JSON.stringify(value)
}

function openCheckpoint(note, vkey) { // C2SP signed-note and tlog-checkpoint
  const [, name, id, key] = /^([^+\s]+)\+([0-9a-f]{8})\+(\S+)$/.exec(vkey) ?? fail('vkey', 'malformed')
  const material = base64(key)
  if (material.length !== 33 || material[0] !== 1) fail('vkey', 'not an Ed25519 key')
  if (sha256(Buffer.from(`${name}\n`), material).toString('hex', 0, 4) !== id) fail('vkey', 'its key id is not its own')
  const end = note.lastIndexOf('\n\n') + 1
  const text = note.slice(0, end), jwk = { kty: 'OKP', crv: 'Ed25519', x: material.subarray(1).toString('base64url') }
  const signatures = note.slice(end + 1).split('\n').map(line => /^\u2014 (\S+) (\S+)$/.exec(line)).filter(Boolean)
    .filter(([, signer, data]) => signer === name && base64(data).toString('hex', 0, 4) === id)
    .map(([, , data]) => base64(data).subarray(4))
  if (!signatures.length) fail('checkpoint', `no signature by ${name}`)
  for (const signature of signatures)
    if (!verify(null, Buffer.from(text), { key: jwk, format: 'jwk' }, signature)) fail('checkpoint', 'wrong signature')
  const [, origin, size, root] = /^([^\n]+)\n([1-9][0-9]*)\n(\S{44})\n$/.exec(text) ?? fail('checkpoint', 'malformed')
  if (origin !== name) fail('checkpoint', `origin ${origin} is not the key's name`)
  return { origin, size: Number(size), root: base64(root) }
}

function checkEntry(line, seq, previous) {
  const split = line.length - 154 // the seal's length, in every version
  const seal = /^,"prev_hash":"([0-9a-f]{64})","hash":"([0-9a-f]{64})"}$/.exec(line.toString('latin1', Math.max(split, 0)))
  if (!seal) fail(`entry ${seq}`, 'has no seal')
  const body = Buffer.concat([line.subarray(0, split), Buffer.from('}')])
  const hash = sha256(Buffer.from([0]), Buffer.from(seal[1], 'hex'), body)
  if (hash.toString('hex') !== seal[2]) fail(`entry ${seq}`, 'edited: its bytes do not have the hash that it claims')
  let text, written
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body)
    const entry = JSON.parse(text)
    if (canonical(entry) !== text) throw new Error('another spelling')
    written = entry.written
  } catch (error) { fail(`entry ${seq}`, `not canonical JSON: ${error.message}`) }
  if (written?.v !== 1) fail(`entry ${seq}`, `a version of the seal that this reader does not know: ${written?.v}`)
  if (written.seq !== seq) fail(`entry ${seq}`, `missing, inserted or reordered: ${written.seq} stands in its place`)
  if (seal[1] !== previous.toString('hex')) fail(`entry ${seq}`, 'forked: it does not link to the entry before it')
  return hash
}

function main([exportPath, notePath, vkeyPath]) {
  const { origin, size, root } = openCheckpoint(readFileSync(notePath, 'utf8'), readFileSync(vkeyPath, 'utf8').trim())
  const data = readFileSync(exportPath), range = [] // [leaves below, hash] of perfect subtrees, largest first
  let seq = 0, previous = sha256(Buffer.from(origin)), signed
  for (let start = 0, end; (end = data.indexOf(10, start)) >= 0; start = end + 1) {
    previous = checkEntry(data.subarray(start, end), seq++, previous)
    let node = [1, previous]
    while (range.at(-1)?.[0] === node[0]) node = [node[0] * 2, sha256(Buffer.from([1]), range.pop()[1], node[1])]
    range.push(node)
    if (seq === size) signed = range.map(([, hash]) => hash).reduceRight((right, left) => sha256(Buffer.from([1]), left, right))
  }
  if (data.length && data.at(-1) !== 10) fail(`entry ${seq}`, 'cut off: its line has no end')
  if (!signed) fail(`entry ${seq}`, `missing: the checkpoint signs ${size} entries, here are ${seq}`)
  if (!signed.equals(root)) fail(`entries 0 to ${size - 1}`, 'rewritten: their Merkle root is not the signed one')
  console.log(`verified: ${origin}, ${size} entries signed, ${seq - size} more linked but not yet signed`)
}

if (process.argv.length !== 5) { console.error('usage: node verify.mjs EXPORT.ndjson CHECKPOINT.note VKEY.txt'); process.exit(2) }
try { main(process.argv.slice(2)) } catch (error) {
  console.error(error.code ? `could not verify: ${error.message}` : `FAILED: ${error.message}`)
  process.exit(error.code ? 2 : 1)
}
