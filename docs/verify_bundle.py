#!/usr/bin/env python3
"""Verifies an evidence bundle of dbd with nothing but Python 3.8: verify_bundle.py FOLDER [PUBLIC-KEY [EARLIER-NOTE]]. Ends with 0 if it is
sound, 6 if anything is wrong, 2 if it is none. Whether each run's history is legal, and the report's words, are for `dbd audit verify`."""
import base64, hashlib, json, os, struct, sys
sha, b64, leaf = lambda data: hashlib.sha256(data).digest(), base64.b64decode, lambda rec: sha(b"\0" + rec.encode())
IV = struct.unpack("<8I", bytes.fromhex("67e6096a85ae67bb72f36e3c3af54fa57f520e518c68059babd9831f19cde05b"))
MIXED = [(n, 4 + (n + s) % 4, 8 + (n + 2 * s) % 4, 12 + (n + 3 * s) % 4) for s in (0, 1) for n in range(4)]
turned = lambda word, bits: (word >> bits | word << 32 - bits) & 0xFFFFFFFF
def compressed(key, block, at, flags):  # BLAKE3: mixed by columns, then by diagonals, seven times
    m, v = struct.unpack("<16I", block.ljust(64, b"\0")), [*key, *IV[:4], at & 0xFFFFFFFF, at >> 32, len(block), flags]
    for _ in range(7):
        for n, (a, b, c, d) in enumerate(MIXED):
            for word, right, left in (m[2 * n], 16, 12), (m[2 * n + 1], 8, 7):
                v[a] = v[a] + v[b] + word & 0xFFFFFFFF; v[d] = turned(v[d] ^ v[a], right)
                v[c] = v[c] + v[d] & 0xFFFFFFFF; v[b] = turned(v[b] ^ v[c], left)
        m = [m[n] for n in (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)]
    return tuple(v[n] ^ v[n + 8] for n in range(8))
def blake3(key, data, mode, root=8, at=0):  # a binary tree over pieces of 1,024 bytes
    if len(data) > 1024:
        half = 1024 << (len(data) - 1 >> 10).bit_length() - 1
        pair = *blake3(key, data[:half], mode, 0, at), *blake3(key, data[half:], mode, 0, at + half // 1024)
        return compressed(key, struct.pack("<16I", *pair), 0, mode | 4 | root)
    value, first = key, 1
    while len(data) > 64: value, data, first = compressed(value, data[:64], at, mode | first), data[64:], 0
    return compressed(value, data, at, mode | first | 2 | root)
EVENT = blake3(IV, b"dbd journal event v1", 32)
def chained(prev, rec): return "b3:" + struct.pack("<8I", *blake3(EVENT, prev + struct.pack("<Q", len(rec)) + rec, 64)).hex()
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493  # Ed25519 (RFC 8032)
D, ROOT = -121665 * pow(121666, -1, P) % P, pow(2, (P - 1) // 4, P)
def add(p, q):
    k = D * p[0] * q[0] * p[1] * q[1]
    return (p[0] * q[1] + p[1] * q[0]) * pow(1 + k, -1, P) % P, (p[1] * q[1] + p[0] * q[0]) * pow(1 - k, -1, P) % P
def times(n, p): return add(times(n >> 1, add(p, p)), p if n & 1 else (0, 1)) if n else (0, 1)
def point(data):
    y, sign = int.from_bytes(data, "little") & (2**255 - 1), data[31] >> 7
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if x * x % P == square else x * ROOT % P
    if y >= P or x * x % P != square or (x == 0 and sign): raise ValueError("no point")
    return x if x & 1 == sign else P - x, y
BASE = point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
def signed(key, text, sig):
    s, k = int.from_bytes(sig[32:], "little"), int.from_bytes(hashlib.sha512(sig[:32] + key + text).digest(), "little") % L
    return len(sig) == 64 and s < L and times(s, BASE) == add(point(sig[:32]), times(k, point(key)))
def root(leaves):  # RFC 6962
    half = 1 << (len(leaves) - 1).bit_length() - 1 if len(leaves) > 1 else 0
    return sha(b"\1" + root(leaves[:half]) + root(leaves[half:])) if half else leaves[0] if leaves else sha(b"")
def main(folder, given=None, earlier=None):
    wrong, roots, keys, read = [], [], [None], lambda name: open(os.path.join(folder, name), "rb").read()
    def check(fine, message): fine or wrong.append(message)
    def note(text, key, what):
        (text, end), (name, _, data) = text.rsplit("\n\n", 1), key.split("+", 2)
        by, data, signature = end.split()[1], b64(data), b64(end.split()[2])
        fine = by == name and signature[:4] == sha(name.encode() + b"\n" + data)[:4]
        check(fine and signed(data[1:], (text + "\n").encode(), signature[4:]), f"{what}: not signed by {key}")
        return text.split("\n")
    files, asked, key = json.loads(read("MANIFEST.json"))["files"], json.loads(read("parameters.json")), read("audit.pub").decode().strip()
    origin, first, last, size = (asked[name] for name in ("origin", "first_seq", "last_seq", "size"))
    for name in set(os.listdir(folder)) ^ {*files, "MANIFEST.json", "MANIFEST.note"}: check(False, f"{name}: missing or unknown")
    for name in files: check(sha(read(name)).hex() == files[name]["sha256"], f"{name}: not the listed file")
    sealed = ["dbd evidence bundle", origin, sha(read("MANIFEST.json")).hex()]
    check(note(read("MANIFEST.note").decode(), key, "MANIFEST.note") == sealed, "MANIFEST.json: not the signed one")
    for at, name in (first - 1, "checkpoint-first.note"), (size, "checkpoint-last.note"): roots.append((at, note(read(name).decode(), key, name), name))
    context, events = ([json.loads(line) for line in read(name).splitlines()] for name in ("context.jsonl", "events.jsonl"))
    outside = [[bytes.fromhex(line) for line in read(f"leaves-{side}.txt").decode().split()] for side in ("before", "after")]
    leaves = outside[0] + [leaf(line["rec"]) for line in events] + outside[1]
    whole = [line["seq"] for line in events] == [*range(first, last + 1)] and len(outside[0]) == first - 1 and len(leaves) == size
    check(whole and {first - 1, last + 1} - {0, size + 1} <= {line["seq"] for line in context}, "events: too few or too many")
    runs, hashes = set(), {0: asked["genesis"], **{line["seq"]: line["hash"] for line in context + events}}
    for line in sorted(context + events, key=lambda line: line["seq"]):
        seq, record, what = line["seq"], json.loads(line["rec"]), f"event {line['seq']}"
        body, inside = record["body"], (asked["since_ms"] <= record["ts"] < asked["until_ms"]) == (first <= seq <= last)
        check(record["seq"] == seq and inside and leaves[seq - 1] == leaf(line["rec"]), f"{what}: in the wrong place, or not the journal's")
        check(line["prev"] == hashes.get(seq - 1, line["prev"]), f"{what}: moved, taken out or put in")
        check(line["hash"] == chained(bytes.fromhex(line["prev"][3:]), line["rec"].encode()), f"{what}: its hash is not that of what it says")
        if first <= seq <= last: runs.add(body["run"] if record["kind"] == "audit.reviewed" else record["run"])
        if record["kind"] == "audit.exported": roots.append((body["size"], [origin, str(body["size"]), body["root"]], what))
        if record["kind"] in ("audit.key_created", "audit.key_rotated"):
            check(body.get("from") == keys[-1], f"{what}: retires a key that is not in use")
            if body.get("endorsement"): check(note(body["endorsement"], keys[-1], what)[1] == body["key"], f"{what}: vouches for another key")
            keys.append(body["key"])
    check(keys[-1] == key and given in (None, key), "audit.pub: not the key that the events name, or not the one that was given")
    if earlier:
        text = open(earlier, encoding="utf-8").read()
        by = [one for one in keys[1:] if one.split("+")[1] == b64(text.split()[-1])[:4].hex()] or [key]
        roots.append((int(text.split("\n")[1]), note(text, by[0], "earlier note"), "earlier note"))
    for at, text, what in roots:
        check(at <= size and text[:3] == [origin, str(at), base64.b64encode(root(leaves[:at])).decode()], f"{what}: another root at {at}")
    only, told = asked["environment"], {entry["run"] for entry in json.loads(read("report.json"))["entries"]}
    differ = told ^ {run for run in runs - {"audit"} if not only or run[7:].rpartition("-")[0] == only}
    check(not differ, f"report.json: not the runs of the window: {sorted(differ)}")
    for row in [row for target in json.loads(read("ledger.json"))["targets"] for row in target["rows"]]:
        check(hashes.get(row["seq"]) == row["hash"], f"ledger.json: a row names event {row['seq']}, which is another")
    return wrong
if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4 or not os.path.isfile(os.path.join(sys.argv[1], "MANIFEST.json")):
        sys.exit(print("usage: verify_bundle.py FOLDER [PUBLIC-KEY [EARLIER-NOTE]]", file=sys.stderr) or 2)
    try: found = main(*(argument or None for argument in sys.argv[1:]))
    except Exception as error: found = [f"the bundle cannot be read to its end: {error!r}"]
    sys.exit(print("\n".join(found) or "sound") or (6 if found else 0))
