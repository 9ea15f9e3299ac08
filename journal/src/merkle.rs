//! The Merkle tree over the events, after RFC 6962: one 32-byte root stands for all of them, in their order.
//!
//! SHA-256, although the chain is BLAKE3: signed checkpoints are defined over RFC 6962 trees, and whoever verifies them has SHA-256 at
//! hand in any language. The leaves are the stored texts, exactly as they are.
//!
//! ```text
//! leaf(rec)          = SHA-256(00 ‖ rec)
//! node(left, right)  = SHA-256(01 ‖ left ‖ right)
//! root(no events)    = SHA-256()
//! ```
//!
//! Nothing here holds the leaves: trees grow and proofs are made from leaves that pass by once, in memory that grows with the logarithm.

use sha2::{Digest, Sha256};

/// A leaf, an inner node or a root.
pub type Hash = [u8; 32];

/// The leaf of the event stored as `rec`.
#[must_use]
pub fn leaf(rec: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(rec).finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A tree that grows by one leaf at a time and keeps only the roots of its full subtrees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// The roots of the full subtrees, the largest first: one for each bit of the size.
    peaks: Vec<Hash>,
}

impl Tree {
    /// How many leaves it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        let mut bits = self.size;
        while bits & 1 == 1 {
            // One peak stands for each bit of the size, so there is one to take.
            let Some(left) = self.peaks.pop() else { break };
            hash = node(&left, &hash);
            bits >>= 1;
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root over all leaves so far.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return Sha256::new().finalize().into() };
        peaks.fold(*last, |right, left| node(left, &right))
    }
}

/// The making of a consistency proof: that the tree of `first` leaves is the beginning of the tree of `second`.
#[derive(Clone, Debug)]
pub struct Prover {
    /// Which leaves each hash of the proof covers, and the tree over them; in the order of the proof.
    parts: Vec<(u64, u64, Tree)>,
}

impl Prover {
    /// A proof between two sizes; `first` must not be larger than `second`.
    #[must_use]
    pub fn new(first: u64, second: u64) -> Self {
        let mut ranges = Vec::new();
        if first > 0 && first < second {
            cover(first, 0, second, true, &mut ranges);
        }
        Self { parts: ranges.into_iter().map(|(start, end)| (start, end, Tree::default())).collect() }
    }

    /// Shows it the leaf at `index`, counted from 0. Every leaf has to come, in order.
    pub fn see(&mut self, index: u64, leaf: Hash) {
        // The ranges of a proof do not overlap.
        if let Some((_, _, tree)) = self.parts.iter_mut().find(|(start, end, _)| (*start..*end).contains(&index)) {
            tree.push(leaf);
        }
    }

    /// The proof.
    #[must_use]
    pub fn finish(self) -> Vec<Hash> {
        self.parts.into_iter().map(|(_, _, tree)| tree.root()).collect()
    }
}

/// RFC 6962, 2.1.2: the subtrees whose roots prove that the first `m` leaves of `start..end` are a beginning.
fn cover(m: u64, start: u64, end: u64, whole: bool, ranges: &mut Vec<(u64, u64)>) {
    let n = end - start;
    if m == n {
        if !whole {
            ranges.push((start, end));
        }
        return;
    }
    // The largest power of two that is smaller than n, which is at least 2 here.
    let k = 1_u64 << (63 - (n - 1).leading_zeros());
    if m <= k {
        cover(m, start, start + k, whole, ranges);
        ranges.push((start + k, end));
    } else {
        cover(m - k, start + k, end, false, ranges);
        ranges.push((start, start + k));
    }
}

/// Whether `proof` shows that the tree of `first` leaves with `first_root` is the beginning of the tree of `second` leaves with
/// `second_root` (RFC 9162, 2.1.4.2).
#[must_use]
pub fn is_consistent(first: u64, first_root: &Hash, second: u64, second_root: &Hash, proof: &[Hash]) -> bool {
    if first > second {
        return false;
    }
    if first == 0 {
        return proof.is_empty() && *first_root == Tree::default().root();
    }
    if first == second {
        return proof.is_empty() && first_root == second_root;
    }
    let mut path = proof.iter();
    let start = if first.is_power_of_two() { Some(first_root) } else { path.next() };
    let Some(start) = start else { return false };
    let (mut left, mut right) = (first - 1, second - 1);
    while left & 1 == 1 {
        (left, right) = (left >> 1, right >> 1);
    }
    let (mut from_first, mut from_second) = (*start, *start);
    for hash in path {
        if right == 0 {
            return false;
        }
        if left & 1 == 1 || left == right {
            (from_first, from_second) = (node(hash, &from_first), node(hash, &from_second));
            while left & 1 == 0 && left != 0 {
                (left, right) = (left >> 1, right >> 1);
            }
        } else {
            from_second = node(&from_second, hash);
        }
        (left, right) = (left >> 1, right >> 1);
    }
    right == 0 && from_first == *first_root && from_second == *second_root
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, word for word: slow, and easy to see through.
    fn defined(leaves: &[Hash]) -> Hash {
        match leaves.len() {
            0 => Sha256::new().finalize().into(),
            1 => leaves[0],
            n => {
                let k = n.next_power_of_two() / 2;
                node(&defined(&leaves[..k]), &defined(&leaves[k..]))
            }
        }
    }

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|n| leaf(&n.to_le_bytes())).collect()
    }

    fn tree(leaves: &[Hash]) -> Tree {
        let mut tree = Tree::default();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        tree
    }

    fn proof(first: u64, leaves: &[Hash]) -> Vec<Hash> {
        let mut prover = Prover::new(first, leaves.len() as u64);
        (0..).zip(leaves).for_each(|(index, leaf)| prover.see(index, *leaf));
        prover.finish()
    }

    #[test]
    fn the_root_is_the_one_of_the_definition_at_every_size() {
        let leaves = leaves(70);
        for size in 0..=leaves.len() {
            assert_eq!(tree(&leaves[..size]).root(), defined(&leaves[..size]), "{size}");
            assert_eq!(tree(&leaves[..size]).size(), size as u64);
        }
    }

    #[test]
    fn the_roots_are_those_of_the_reference_log() {
        // The inputs and roots that certificate-transparency's own tests use.
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let mut tree = Tree::default();
        let hex = |hash: Hash| data_encoding::HEXLOWER.encode(&hash);
        assert_eq!(hex(tree.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        tree.push(leaf(inputs[0]));
        assert_eq!(hex(tree.root()), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        inputs[1..].iter().for_each(|input| tree.push(leaf(input)));
        assert_eq!(hex(tree.root()), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    #[test]
    fn every_beginning_is_proven_and_nothing_else_is() {
        let leaves = leaves(33);
        let roots: Vec<Hash> = (0..=leaves.len()).map(|size| tree(&leaves[..size]).root()).collect();
        for second in 0..=leaves.len() {
            for first in 0..=second {
                let proof = proof(first as u64, &leaves[..second]);
                let holds = |first_root: &Hash, second_root: &Hash, proof: &[Hash]| {
                    is_consistent(first as u64, first_root, second as u64, second_root, proof)
                };
                assert!(holds(&roots[first], &roots[second], &proof), "{first} {second}");
                assert!(!holds(&[7; 32], &roots[second], &proof), "{first} {second}");
                if first > 0 {
                    assert!(!holds(&roots[first], &[7; 32], &proof), "{first} {second}");
                }
                for at in 0..proof.len() {
                    let mut wrong = proof.clone();
                    wrong[at][0] ^= 1;
                    assert!(!holds(&roots[first], &roots[second], &wrong), "{first} {second} {at}");
                    wrong.remove(at);
                    assert!(!holds(&roots[first], &roots[second], &wrong), "{first} {second} without {at}");
                }
                let longer: Vec<Hash> = proof.iter().copied().chain([[1; 32]]).collect();
                assert!(!holds(&roots[first], &roots[second], &longer), "{first} {second} longer");
            }
        }
        assert!(!is_consistent(3, &roots[3], 2, &roots[2], &[]));
    }
}
