// Verifies a chain export with nothing but Node, after docs/format.md alone. Usage and exit codes: README.md beside it.
import { createHash, verify } from 'node:crypto'
import { readFileSync } from 'node:fs'
const sha256 = (...parts) => createHash('sha256').update(Buffer.concat(parts)).digest()
const fail = what => { throw new Error(what) }
const base64 = text => Buffer.from(Buffer.from(text, 'base64').toString('base64') === text ? text : '', 'base64')
function canonical(value) { // RFC 8785, and integers within 2^53-1
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (value !== null && typeof value === 'object')
    return `{${Object.keys(value).sort().map(name => `${canonical(name)}:${canonical(value[name])}`).join(',')}}`
  const exact = typeof value === 'number' ? Number.isFinite(value) && Math.abs(value) < 2 ** 53 : `${value}`.isWellFormed()
  return exact ? JSON.stringify(value) : fail(`not canonical JSON: ${JSON.stringify(value)}`)
}
function openCheckpoint(note, vkey) { // C2SP signed-note and tlog-checkpoint
  const [, name, id, key] = /^([^+\s]+)\+([0-9a-f]{8})\+(\S+)$/.exec(vkey) ?? fail('vkey: malformed')
  const material = base64(key), jwk = { kty: 'OKP', crv: 'Ed25519', x: material.subarray(1).toString('base64url') }
  const hashed = sha256(Buffer.from(`${name}\n`), material).toString('hex', 0, 4)
  if (material.length !== 33 || material[0] !== 1 || hashed !== id) fail('vkey: not an Ed25519 key, or not with this id')
  const end = note.lastIndexOf('\n\n') + 1, text = note.slice(0, end)
  const ours = note.slice(end + 1).split('\n').map(line => /^\u2014 (\S+) (\S+)$/.exec(line) ?? [])
    .filter(([, who, data]) => who === name && base64(data).toString('hex', 0, 4) === id)
    .map(([, , data]) => verify(null, Buffer.from(text), { key: jwk, format: 'jwk' }, base64(data).subarray(4)))
  if (!ours.length) fail(`checkpoint: no signature by ${name}`)
  if (ours.includes(false)) fail('checkpoint: wrong signature')
  const [, origin, size, root] = /^([^\n]+)\n([1-9][0-9]*)\n(\S{44})\n$/.exec(text) ?? fail('checkpoint: malformed')
  return origin === name ? [origin, Number(size), base64(root)] : fail(`checkpoint: its origin is ${origin}`)
}
function checkEntry(line, seq, previous) { // its hash, which the next entry must link to
  const split = Math.max(line.length - 154, 0) // the seal's length, in every version
  const seal = /^,"prev_hash":"([0-9a-f]{64})","hash":"([0-9a-f]{64})"}$/.exec(line.toString('latin1', split))
  if (!seal) fail('has no seal')
  const body = Buffer.concat([line.subarray(0, split), Buffer.from('}')])
  const hash = sha256(Buffer.from([0]), Buffer.from(seal[1], 'hex'), body)
  if (hash.toString('hex') !== seal[2]) fail('edited: its bytes do not have the hash that it claims')
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body), entry = JSON.parse(text)
  if (canonical(entry) !== text) fail('not canonical JSON')
  if (entry.written?.v !== 1) fail(`a version of the seal that this reader does not know: ${entry.written?.v}`)
  if (entry.written.seq !== seq) fail(`missing, inserted or reordered: ${entry.written.seq} stands in its place`)
  return seal[1] === previous.toString('hex') ? hash : fail('forked: it does not link to the entry before it')
}
function main([exportPath, notePath, vkeyPath]) {
  const [origin, size, root] = openCheckpoint(readFileSync(notePath, 'utf8'), readFileSync(vkeyPath, 'utf8').trim())
  const data = readFileSync(exportPath), range = [] // [leaves below, hash] of perfect subtrees, largest first
  let seq = 0, hash = sha256(Buffer.from(origin)), signed
  for (let start = 0, end; (end = data.indexOf(10, start)) >= 0; start = end + 1) {
    try { hash = checkEntry(data.subarray(start, end), seq, hash) } catch (e) { fail(`entry ${seq}: ${e.message}`) }
    let node = [1, hash]
    while (range.at(-1)?.[0] === node[0]) node = [node[0] * 2, sha256(Buffer.from([1]), range.pop()[1], node[1])]
    range.push(node)
    if (++seq === size) signed = range.map(each => each[1]).reduceRight((b, a) => sha256(Buffer.from([1]), a, b))
  }
  if (data.length && data.at(-1) !== 10) fail(`entry ${seq}: cut off: its line has no end`)
  if (seq < size) fail(`entry ${seq}: missing: the checkpoint signs ${size} entries, here are ${seq}`)
  if (!signed.equals(root)) fail(`entries 0 to ${size - 1}: rewritten: their Merkle root is not the signed one`)
  console.log(`verified: ${origin}, ${size} entries signed, ${seq - size} more linked but not yet signed`)
}
try { main(process.argv.slice(2)) } catch (error) { // an error with a code is Node's: a file that is not there
  console.error(error.code ? `could not verify (usage: README.md): ${error.message}` : `FAILED: ${error.message}`)
  process.exit(error.code ? 2 : 1)
}
