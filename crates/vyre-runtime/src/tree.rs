//! Joins the chaining values of consecutive subtrees to the hash of the whole (BLAKE3 paper, section 2.1).

use blake3::hazmat::{ChainingValue, Mode, merge_subtrees_non_root, merge_subtrees_root};

/// A growing BLAKE3 tree. All subtrees but the last are complete and of one size.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Left siblings that wait for their right one, largest first.
    stack: Vec<ChainingValue>,
    /// Subtrees that were joined.
    joined: u64,
    /// The newest subtree. It is joined only when another follows, since the last one is joined as a part of the root.
    newest: Option<ChainingValue>,
}

impl Tree {
    /// Appends a subtree.
    pub(crate) fn push(&mut self, value: ChainingValue) {
        let Some(mut value) = self.newest.replace(value) else { return };
        self.joined += 1;
        // A subtree that ends at a multiple of 2^k completes k larger ones.
        for _ in 0..self.joined.trailing_zeros() {
            if let Some(left) = self.stack.pop() {
                value = merge_subtrees_non_root(&left, &value, Mode::Hash);
            }
        }
        self.stack.push(value);
    }

    /// The hash; `None` if there were fewer than two subtrees, whose root only the kernel can compute.
    pub(crate) fn root(mut self) -> Option<blake3::Hash> {
        let mut value = self.newest?;
        let top = (!self.stack.is_empty()).then(|| self.stack.remove(0))?;
        while let Some(left) = self.stack.pop() {
            value = merge_subtrees_non_root(&left, &value, Mode::Hash);
        }
        Some(merge_subtrees_root(&top, &value, Mode::Hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blake3::hazmat::HasherExt;

    #[test]
    fn subtrees_of_every_size_join_to_the_hash() {
        let data: Vec<u8> = (0..70_000_u32).map(|i| (i * 31 + i / 7) as u8).collect();
        for tile in [1024, 2048, 4096, 16_384] {
            for len in [tile + 1, 2 * tile, 3 * tile - 1, 5 * tile + 7, 8 * tile, data.len()] {
                let data = &data[..len.min(data.len())];
                if data.len() <= tile {
                    continue;
                }
                let mut tree = Tree::default();
                for (i, part) in data.chunks(tile).enumerate() {
                    let mut hasher = blake3::Hasher::new();
                    tree.push(hasher.set_input_offset((i * tile) as u64).update(part).finalize_non_root());
                }
                assert_eq!(tree.root(), Some(blake3::hash(data)), "{} bytes in tiles of {tile}", data.len());
            }
        }
        assert_eq!(Tree::default().root(), None);
    }
}
