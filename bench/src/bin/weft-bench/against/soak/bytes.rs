//! How many bytes, and which?

/// Reads `10G`, `1.5M` or `4096`: decimal thousands, as rates are told.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is not a number of bytes such as 500K, 50M or 10G");
    let (digits, power) = match text.to_ascii_uppercase().strip_suffix(['K', 'M', 'G', 'T']) {
        Some(digits) => (digits.to_owned(), text.chars().last()),
        None => (text.to_owned(), None),
    };
    let factor: u64 = match power.map(|letter| letter.to_ascii_uppercase()) {
        None => 1,
        Some('K') => 1_000,
        Some('M') => 1_000_000,
        Some('G') => 1_000_000_000,
        Some(_) => 1_000_000_000_000,
    };
    let (whole, part) = digits.split_once('.').unwrap_or((&digits, ""));
    if whole.is_empty() || part.len() > 9 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    // Nanounits, so that a fraction needs no float.
    let part: u64 = format!("{part:0<9}").parse().map_err(|_| wrong())?;
    let part = u128::from(part) * u128::from(factor) / 1_000_000_000;
    let bytes = whole.checked_mul(factor);
    let bytes = bytes.and_then(|bytes| bytes.checked_add(u64::try_from(part).ok()?));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(wrong)
}

/// Pseudo-random bytes that begin the same for the same seed.
#[derive(Debug)]
pub(super) struct Source(u64);

impl Source {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next bytes; a multiple of eight but for the last.
    pub(super) fn fill(&mut self, room: &mut [u8]) {
        for word in room.chunks_mut(8) {
            // xorshift64
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let random = self.0.to_le_bytes();
            let bytes = word.iter_mut().zip(random);
            bytes.for_each(|(byte, next)| *byte = next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_decimal_suffixes() {
        assert_eq!(parse("10G"), Ok(10_000_000_000));
        assert_eq!(parse("1.5m"), Ok(1_500_000));
        assert_eq!(parse("4096"), Ok(4096));
        for bad in [
            "",
            "G",
            "0",
            "-1",
            "1X",
            "1.xG",
            ".5G",
            "99999999999T",
            "10é",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_source_goes_on_where_it_was() {
        let (mut whole, mut halves) = ([0; 64], [0; 64]);
        Source::new(7).fill(&mut whole);
        let mut source = Source::new(7);
        let (first, second) = halves.split_at_mut(32);
        source.fill(first);
        source.fill(second);
        assert_eq!(whole, halves);
    }
}
