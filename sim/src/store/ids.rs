//! Uids, name suffixes and cluster addresses: from a seed, so that a run can be repeated.

/// A counter put through `SplitMix64`: the n-th id of a seed is always the same.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    state: u64,
    addresses: u32,
}

/// The letters of generated names (apimachinery's rand: no vowels, no digits that look like them).
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

impl Ids {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            state: seed,
            addresses: 0,
        }
    }

    const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A version 4 uuid.
    pub(crate) fn uid(&mut self) -> String {
        let (high, low) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | ((low >> 48) & 0x3fff),
            low & 0xffff_ffff_ffff
        )
    }

    /// Five letters, for `generateName`.
    pub(crate) fn suffix(&mut self) -> String {
        let mut number = self.next();
        let mut out = String::with_capacity(5);
        for _ in 0..5 {
            let index = (number % LETTERS.len() as u64) as usize;
            number /= LETTERS.len() as u64;
            out.push(LETTERS.get(index).map_or('b', |&letter| char::from(letter)));
        }
        out
    }

    /// The next address of 10.96.0.0/12, from 10.96.0.2 on.
    pub(crate) fn cluster_ip(&mut self) -> String {
        self.addresses += 1;
        let number = (self.addresses + 1) & 0x000f_ffff;
        let [_, high, middle, low] = (0x0a60_0000_u32 + number).to_be_bytes();
        format!("10.{high}.{middle}.{low}")
    }
}
