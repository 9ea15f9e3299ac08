#!/usr/bin/env python3
"""Verifies an evidence bundle of dbd with nothing but Python 3: verify_bundle.py FOLDER [PUBLIC-KEY [EARLIER-NOTE]]. Ends with 0 if it is
sound, 6 if anything is wrong, 2 if it is none. What the BLAKE3 chain and the report's wording say is for `dbd audit verify`; see VERIFY.md."""
import base64, hashlib, json, os, sys
sha, b64 = lambda data: hashlib.sha256(data).digest(), base64.b64decode

# Ed25519 (RFC 8032): points in extended coordinates.
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D, ROOT = -121665 * pow(121666, P - 2, P) % P, pow(2, (P - 1) // 4, P)
def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P
def times(n, p):
    out = (0, 1, 1, 0)
    while n:
        out, p, n = add(out, p) if n & 1 else out, add(p, p), n >> 1
    return out
def point(data):
    y, sign = int.from_bytes(data, "little") & (2**255 - 1), data[31] >> 7
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if x * x % P == square else x * ROOT % P
    if y >= P or x * x % P != square or (x == 0 and sign): raise ValueError("no point")
    x = x if x & 1 == sign else P - x
    return x, y, 1, x * y % P
BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
def signed(key, text, sig):
    s, k = int.from_bytes(sig[32:], "little"), int.from_bytes(hashlib.sha512(sig[:32] + key + text).digest(), "little") % L
    p, q = times(s, BASE), add(point(sig[:32]), times(k, point(key)))
    return len(sig) == 64 and s < L and (p[0] * q[2] - q[0] * p[2]) % P == 0 == (p[1] * q[2] - q[1] * p[2]) % P

def main(folder, given=None, earlier=None):
    wrong, roots, peaks, read = [], [], [], lambda name: open(os.path.join(folder, name), "rb").read()
    def check(fine, message): fine or wrong.append(message)
    def note(text, key, what):
        (text, end), (name, _, data) = text.rsplit("\n\n", 1), key.split("+", 2)
        by, data, signature = end.split()[1], b64(data), b64(end.split()[2])
        fine = by == name and signature[:4] == sha(name.encode() + b"\n" + data)[:4]
        check(fine and signed(data[1:], (text + "\n").encode(), signature[4:]), f"{what}: not signed by {key}")
        return text.split("\n")
    manifest, asked, key = json.loads(read("MANIFEST.json")), json.loads(read("parameters.json")), read("audit.pub").decode().strip()
    origin, first, last, size = (asked[name] for name in ("origin", "first_seq", "last_seq", "size"))
    check(given in (None, key), "audit.pub: not the key that was given")
    for name in set(os.listdir(folder)) ^ {*manifest["files"], "MANIFEST.json", "MANIFEST.note"}: check(False, f"{name}: missing or unknown")
    for name in manifest["files"]: check(sha(read(name)).hex() == manifest["files"][name]["sha256"], f"{name}: not the listed file")
    sealed = ["dbd evidence bundle", origin, sha(read("MANIFEST.json")).hex()]
    check(note(read("MANIFEST.note").decode(), key, "MANIFEST.note") == sealed, "MANIFEST.json: not the signed one")
    for at, name in (first - 1, "checkpoint-first.note"), (size, "checkpoint-last.note"): roots.append((at, note(read(name).decode(), key, name), name))
    context, events = ([json.loads(line) for line in read(name).splitlines()] for name in ("context.jsonl", "events.jsonl"))
    records = {line["seq"]: json.loads(line["rec"]) for line in sorted(context + events, key=lambda line: line["seq"])}
    hashes, keys = {(line["seq"], line["hash"]) for line in context + events}, [None]
    for seq, record in records.items():
        body, what = record["body"], f"event {seq}"
        if record["kind"] == "audit.exported": roots.append((body["size"], [origin, str(body["size"]), body["root"]], what))
        if record["kind"] in ("audit.key_created", "audit.key_rotated"):
            check(body.get("from") == keys[-1], f"{what}: retires a key that is not in use")
            if body.get("endorsement"): check(note(body["endorsement"], keys[-1], what)[1] == body["key"], f"{what}: vouches for another key")
            keys.append(body["key"])
    check(keys[-1] == key, "audit.pub: not the key that the events name")
    if earlier:
        text = open(earlier, encoding="utf-8").read()
        by = [one for one in keys[1:] if one.split("+")[1] == b64(text.split()[-1])[:4].hex()] or [key]
        roots.append((int(text.split("\n")[1]), note(text, by[0], "earlier note"), "earlier note"))
    leaf, before = lambda rec: sha(b"\0" + rec.encode()), next((line["hash"] for line in context if line["seq"] == first - 1), asked["genesis"])
    outside = [[bytes.fromhex(line) for line in read(f"leaves-{side}.txt").decode().split()] for side in ("before", "after")]
    check([len(outside[0]), len(events), len(outside[1])] == [first - 1, last - first + 1, size - last], "events: too few or too many")
    check({first - 1, last + 1} - {0, size + 1} <= set(records), "context.jsonl: without the neighbours of the window")
    for seq, record in records.items():
        inside = (asked["since_ms"] <= record["ts"] < asked["until_ms"]) == (first <= seq <= last)
        check(record["seq"] == seq and inside, f"event {seq}: in the wrong place")
    for seq, line in enumerate(events, first):
        check(line["seq"] == seq and before == line["prev"], f"event {seq}: moved, taken out or put in")
        before = line["hash"]
    leaves = outside[0] + [leaf(line["rec"]) for line in events] + outside[1]
    for line in context: check(leaves[line["seq"] - 1] == leaf(line["rec"]), f"event {line['seq']}: not the journal's")
    for at, hash in enumerate([None] + leaves):
        bits = at - 1
        while hash and bits & 1: hash, bits = sha(b"\1" + peaks.pop() + hash), bits >> 1
        peaks += [hash] if hash else []
        for _, text, what in filter(lambda root: root[0] == at, roots):
            top = peaks[-1] if peaks else sha(b"")
            for peak in peaks[-2::-1]: top = sha(b"\1" + peak + top)
            check(text[:3] == [origin, str(at), base64.b64encode(top).decode()], f"{what}: the first {at} events have another root")
    for at, _, what in roots: check(at <= size, f"{what}: over more events than there are")
    only, told = asked["environment"], {entry["run"] for entry in json.loads(read("report.json"))["entries"]}
    runs = {one["body"]["run"] if one["kind"] == "audit.reviewed" else one["run"] for seq, one in records.items() if first <= seq <= last}
    differ = told ^ {run for run in runs - {"audit"} if not only or run[7:].rpartition("-")[0] == only}
    check(not differ, f"report.json: not the runs of the window: {sorted(differ)}")
    for row in [row for target in json.loads(read("ledger.json"))["targets"] for row in target["rows"]]:
        check((row["seq"], row["hash"]) in hashes, f"ledger.json: a row names event {row['seq']}, which is another")
    return wrong
if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4 or not os.path.isfile(os.path.join(sys.argv[1], "MANIFEST.json")):
        sys.exit(print("usage: verify_bundle.py FOLDER [PUBLIC-KEY [EARLIER-NOTE]]", file=sys.stderr) or 2)
    try: found = main(*(argument or None for argument in sys.argv[1:]))
    except Exception as error: found = [f"the bundle cannot be read to its end: {error!r}"]
    print("\n".join(found) or "sound")
    sys.exit(6 if found else 0)
