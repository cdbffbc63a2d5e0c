//! Kubernetes resource quantities: parsing and the canonical text.
//!
//! The rules are those of `k8s.io/apimachinery/pkg/api/resource` (contract 2.4): binary suffixes stay
//! binary, decimal ones decimal, exponents stay exponents, the number is an integer and the suffix the largest
//! that leaves it one. Values are kept as decimal digits, so no size of number can overflow or take long.

use std::{cmp::Ordering, fmt::Write as _};

/// The three ways to write a quantity; parsing decides, writing keeps it where it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Exponent,
    Decimal,
    Binary,
}

/// The smallest unit that is kept, as a power of ten.
const NANO: i64 = -9;
/// The smallest unit that the API server keeps in requests and limits.
const MILLI: i64 = -3;
/// Digits that always fit a 64-bit integer: longer numbers take Go's slow path, which forgets the text.
const FAST_DIGITS: usize = 18;
/// Binary quantities are capped at the largest signed 64-bit integer.
const MAX_BINARY: &[u8] = b"9223372036854775807";

/// A parsed quantity: `digits` times ten to the power of `exponent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quantity {
    negative: bool,
    /// ASCII, without zeros at either end; empty means zero.
    digits: Vec<u8>,
    exponent: i64,
    format: Format,
    /// The text as it was sent, where Go writes it back unchanged instead of computing the canonical one.
    verbatim: Option<String>,
}

impl Quantity {
    /// Parses the text of a quantity; `None` where Kubernetes answers with an error.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let parts = Parts::split(text)?;
        if parts.all_zero {
            return Some(Self::zero());
        }
        let (format, exponent) = interpret(parts.suffix)?;

        let mut digits = Vec::with_capacity(parts.whole.len() + parts.fraction.len());
        digits.extend_from_slice(parts.whole.as_bytes());
        digits.extend_from_slice(parts.fraction.as_bytes());
        let mut value = Self {
            negative: parts.negative,
            digits,
            exponent: -i64::try_from(parts.fraction.len()).ok()?,
            format,
            verbatim: None,
        };
        match format {
            Format::Binary => value.multiply(1_u64 << exponent),
            Format::Decimal | Format::Exponent => value.exponent = value.exponent.checked_add(exponent)?,
        }
        value.normalize();
        value.round_up(NANO);
        if value.digits.is_empty() {
            return Some(Self {
                format,
                ..Self::zero()
            });
        }
        if format == Format::Binary {
            if value.exceeds_max_binary() {
                value.digits = MAX_BINARY.to_vec();
                value.exponent = 0;
            } else if value.magnitude() <= 0 {
                // below one: a binary suffix could only lose it
                value.format = Format::Decimal;
            }
        }
        if parts.keeps_text(format, exponent) {
            value.verbatim = Some(text.to_owned());
        }
        Some(value)
    }

    fn zero() -> Self {
        Self {
            negative: false,
            digits: Vec::new(),
            exponent: 0,
            format: Format::Decimal,
            verbatim: None,
        }
    }

    /// The text that Go writes: what was sent where its parser takes that for canonical, else [`Self::canonical`].
    pub(crate) fn go_text(&self) -> String {
        self.verbatim.clone().unwrap_or_else(|| self.canonical())
    }

    /// Rounds up to thousandths, as the API server does with requests, limits and overhead.
    pub(crate) fn round_up_to_milli(&mut self) {
        if self.exponent < MILLI {
            self.verbatim = None;
            self.round_up(MILLI);
        }
    }

    /// The canonical text, computed from the value alone: equal values of one format have equal text.
    pub(crate) fn canonical(&self) -> String {
        if self.digits.is_empty() {
            return "0".to_owned();
        }
        let mut text = String::with_capacity(self.digits.len() + 4);
        if self.negative {
            text.push('-');
        }
        if self.format == Format::Binary
            && let Some((number, suffix)) = self.base_1024()
        {
            let _ = write!(text, "{number}{suffix}");
            return text;
        }

        // the exponent becomes a multiple of three by writing up to two zeros more
        let zeros = self.exponent.rem_euclid(3);
        let exponent = self.exponent - zeros;
        text.extend(self.digits.iter().map(|digit| char::from(*digit)));
        text.extend(std::iter::repeat_n('0', zeros as usize));
        match decimal_suffix(exponent) {
            Some(suffix) if self.format != Format::Exponent => text.push_str(suffix),
            _ if exponent == 0 => {}
            // no suffix exists above E; leaving the exponent out would change the value
            _ => {
                let _ = write!(text, "e{exponent}");
            }
        }
        text
    }

    /// Number and suffix of a whole value of at least 1024; `None` where only decimals keep the value.
    fn base_1024(&self) -> Option<(u64, &'static str)> {
        let zeros = u32::try_from(self.exponent).ok()?;
        if self.digits.len() + zeros as usize > MAX_BINARY.len() {
            return None;
        }
        let digits = self
            .digits
            .iter()
            .fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        let mut number = digits * 10_u64.pow(zeros);
        if number < 1024 {
            return None;
        }
        let mut suffix = "";
        for next in ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] {
            if !number.is_multiple_of(1024) {
                break;
            }
            number /= 1024;
            suffix = next;
        }
        Some((number, suffix))
    }

    /// How many digits stand before the decimal point; zero or less for values below one.
    fn magnitude(&self) -> i64 {
        self.digits.len() as i64 + self.exponent
    }

    fn exceeds_max_binary(&self) -> bool {
        match self.magnitude().cmp(&(MAX_BINARY.len() as i64)) {
            Ordering::Less => false,
            Ordering::Equal => self.digits.as_slice() > MAX_BINARY,
            Ordering::Greater => true,
        }
    }

    fn multiply(&mut self, factor: u64) {
        let mut carry = 0_u128;
        for digit in self.digits.iter_mut().rev() {
            let product = u128::from(*digit - b'0') * u128::from(factor) + carry;
            *digit = b'0' + (product % 10) as u8;
            carry = product / 10;
        }
        self.digits.splice(0..0, carry.to_string().into_bytes());
    }

    /// Drops the zeros at both ends.
    fn normalize(&mut self) {
        let leading = self.digits.iter().take_while(|digit| **digit == b'0').count();
        self.digits.drain(..leading);
        while self.digits.pop_if(|digit| *digit == b'0').is_some() {
            self.exponent += 1;
        }
    }

    /// Rounds away from zero to a multiple of ten to the power of `scale`.
    fn round_up(&mut self, scale: i64) {
        if self.digits.is_empty() || self.exponent >= scale {
            return;
        }
        // the last digit is never zero, so what is cut off is always worth rounding up for
        let cut = usize::try_from(scale - self.exponent).unwrap_or(usize::MAX);
        self.digits.truncate(self.digits.len().saturating_sub(cut));
        self.exponent = scale;
        let mut carry = true;
        for digit in self.digits.iter_mut().rev() {
            if *digit == b'9' {
                *digit = b'0';
            } else {
                *digit += 1;
                carry = false;
                break;
            }
        }
        if carry {
            self.digits.insert(0, b'1');
        }
        self.normalize();
    }
}

/// The pieces of a quantity's text.
struct Parts<'a> {
    negative: bool,
    /// Digits before the point without leading zeros, at least `0`.
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
    /// Nothing but an optional sign and zeros.
    all_zero: bool,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let rest = rest.trim_start_matches('0');
        let all_zero = rest.is_empty();
        let (whole, rest) = split_digits(rest);
        let whole = if whole.is_empty() { "0" } else { whole };
        let (fraction, suffix) = rest.strip_prefix('.').map_or(("", rest), split_digits);

        let tail = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
        let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
        let well_formed = split_digits(tail).1.is_empty();
        well_formed.then_some(Self {
            negative,
            whole,
            fraction,
            suffix,
            all_zero,
        })
    }

    /// Whether Go's parser keeps the text as it is. Its test for "already canonical" is a cheap one that some
    /// odd texts pass too (`1.500`, `+1`), and the hash is made of what it writes.
    fn keeps_text(&self, format: Format, exponent: i64) -> bool {
        let length = self.whole.len() + self.fraction.len();
        if format == Format::Binary {
            let length = length as i64;
            let low_bits = self.whole.parse::<i64>().is_ok_and(|whole| whole & 7 != 0);
            return self.fraction.is_empty() && 15 - length - exponent * 3 / 10 > 0 && low_bits;
        }
        let scale = exponent - self.fraction.len() as i64;
        let ends_in_thousands = match self.fraction {
            "" => self.whole.ends_with("000"),
            fraction => [self.whole, fraction].concat().ends_with("000"),
        };
        length <= FAST_DIGITS
            && scale >= NANO
            && scale % 3 == 0
            && !ends_in_thousands
            && !self.whole.starts_with('0')
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// The format and the exponent of a suffix; of two for the binary ones, else of ten.
fn interpret(suffix: &str) -> Option<(Format, i64)> {
    let decimal = |exponent| Some((Format::Decimal, exponent));
    let binary = |exponent| Some((Format::Binary, exponent));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?;
            Some((Format::Exponent, i64::from(exponent)))
        }
    }
}

fn decimal_suffix(exponent: i64) -> Option<&'static str> {
    Some(match exponent {
        -9 => "n",
        -6 => "u",
        -3 => "m",
        0 => "",
        3 => "k",
        6 => "M",
        9 => "G",
        12 => "T",
        15 => "P",
        18 => "E",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// (as sent, as Go writes it, canonical by value)
    const TABLE: &[(&str, Option<(&str, &str)>)] = &[
        ("0", Some(("0", "0"))),
        ("-0", Some(("0", "0"))),
        ("000Ki", Some(("0", "0"))),
        ("1", Some(("1", "1"))),
        ("1000m", Some(("1", "1"))),
        ("1500m", Some(("1500m", "1500m"))),
        ("1.5", Some(("1500m", "1500m"))),
        ("1.500", Some(("1.500", "1500m"))),
        ("+1", Some(("+1", "1"))),
        ("-1.25", Some(("-1250m", "-1250m"))),
        ("100M", Some(("100M", "100M"))),
        ("1000M", Some(("1G", "1G"))),
        ("0.1", Some(("100m", "100m"))),
        ("0.0000000001", Some(("1n", "1n"))),
        ("0.9999999999", Some(("1", "1"))),
        ("1.0000000001", Some(("1000000001n", "1000000001n"))),
        ("1Ki", Some(("1Ki", "1Ki"))),
        ("1000Ki", Some(("1000Ki", "1000Ki"))),
        ("1024Mi", Some(("1Gi", "1Gi"))),
        ("1536Mi", Some(("1536Mi", "1536Mi"))),
        ("1.5Gi", Some(("1536Mi", "1536Mi"))),
        ("0.5Ki", Some(("512", "512"))),
        ("0.0001Ki", Some(("102400u", "102400u"))),
        ("1.0001Ki", Some(("1024102400u", "1024102400u"))),
        ("5E", Some(("5E", "5E"))),
        ("7Ei", Some(("7Ei", "7Ei"))),
        ("8Ei", Some(("9223372036854775807", "9223372036854775807"))),
        (
            "99999999999999999999999Ki",
            Some(("9223372036854775807", "9223372036854775807")),
        ),
        (
            "12345678901234567890",
            Some(("12345678901234567890", "12345678901234567890")),
        ),
        ("1000E", Some(("1e21", "1e21"))),
        ("1e3", Some(("1e3", "1e3"))),
        ("1000e0", Some(("1e3", "1e3"))),
        ("1e-3", Some(("1e-3", "1e-3"))),
        ("1e+21", Some(("1e+21", "1e21"))),
        ("1e2000000000", Some(("100e1999999998", "100e1999999998"))),
        ("1e-2000000000", Some(("1e-9", "1e-9"))),
        (" 2Gi ", Some(("2Gi", "2Gi"))),
        ("", None),
        ("invalid", None),
        ("1KiB", None),
        ("1 Gi", None),
        ("0x10", None),
        ("1e", None),
        ("1e99999999999", None),
        ("--1", None),
        ("1.2.3", None),
        ("\u{0661}", None),
    ];

    #[test]
    fn canonical_texts() {
        for (sent, expected) in TABLE {
            let parsed = Quantity::parse(sent).map(|quantity| (quantity.go_text(), quantity.canonical()));
            let expected = expected.map(|(go, canonical)| (go.to_owned(), canonical.to_owned()));
            assert_eq!(parsed, expected, "{sent:?}");
        }
    }

    #[test]
    fn the_api_server_keeps_thousandths() {
        let rounded = |text: &str| {
            let mut quantity = Quantity::parse(text).unwrap();
            quantity.round_up_to_milli();
            quantity.canonical()
        };
        assert_eq!(rounded("1u"), "1m");
        assert_eq!(rounded("999999999n"), "1");
        assert_eq!(rounded("1.0001Ki"), "1024103m");
        assert_eq!(rounded("1500m"), "1500m");
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "[-+]?[0-9.]{0,40}[eEinumkKMGTP]{0,2}[-+]?[0-9]{0,12}") {
            if let Some(quantity) = Quantity::parse(&text) {
                let canonical = quantity.canonical();
                let again = Quantity::parse(&canonical).expect("canonical text is a quantity");
                prop_assert_eq!(again.canonical(), canonical);
            }
        }
    }
}
