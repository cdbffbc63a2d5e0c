//! Text to tokens.

use super::PromqlError;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name or a keyword.
    Word(String),
    Number(f64),
    /// Milliseconds.
    Duration(i64),
    Text(String),
    /// One of the operators and brackets.
    Sign(&'static str),
}

const SIGNS: [&str; 23] = [
    "==", "!=", "<=", ">=", "=~", "!~", "(", ")", "{", "}", "[", "]", ",", "=", "<", ">", "+", "-", "*", "/",
    "%", "^", "@",
];

/// Tokens with the offset at which each starts.
pub(super) fn lex(text: &str) -> Result<Vec<(usize, Token)>, PromqlError> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&b) = bytes.get(at) {
        let rest = text.get(at..).unwrap_or_default();
        if b.is_ascii_whitespace() {
            at += 1;
        } else if b == b'#' {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if b.is_ascii_alphabetic() || b == b'_' || b == b':' {
            let length = length_of(rest, |c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
            let word = rest.get(..length).unwrap_or_default();
            let token = match word.to_ascii_lowercase().as_str() {
                "inf" => Token::Number(f64::INFINITY),
                "nan" => Token::Number(f64::NAN),
                _ => Token::Word(word.to_owned()),
            };
            tokens.push((at, token));
            at += length;
        } else if b.is_ascii_digit() || b == b'.' {
            let (token, length) = number(rest).ok_or_else(|| syntax(at, "bad number or duration"))?;
            tokens.push((at, token));
            at += length;
        } else if matches!(b, b'"' | b'\'' | b'`') {
            let (value, length) =
                string(rest).ok_or_else(|| syntax(at, "unterminated or badly escaped string"))?;
            tokens.push((at, Token::Text(value)));
            at += length;
        } else {
            let sign = SIGNS.iter().find(|s| rest.starts_with(**s));
            let sign = sign.ok_or_else(|| {
                syntax(
                    at,
                    &format!("unexpected character {:?}", rest.chars().next().unwrap_or(' ')),
                )
            })?;
            tokens.push((at, Token::Sign(sign)));
            at += sign.len();
        }
    }
    Ok(tokens)
}

pub(super) fn syntax(at: usize, what: &str) -> PromqlError {
    PromqlError::Syntax {
        at,
        what: what.to_owned(),
    }
}

fn length_of(text: &str, fits: impl Fn(char) -> bool) -> usize {
    text.find(|c| !fits(c)).unwrap_or(text.len())
}

/// `12`, `1.5e3`, `5m`, `1h30m`: the token and its length in bytes.
fn number(text: &str) -> Option<(Token, usize)> {
    let mut total = 0_i64;
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        let digits = length_of(rest, |c| c.is_ascii_digit());
        let unit_text = rest.get(digits..)?;
        let unit_length = length_of(unit_text, |c| c.is_ascii_alphabetic());
        let unit = match unit_text.get(..unit_length)? {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "y" => 365 * 86_400_000,
            // `1h30m` is one run of letters and digits: take the leading unit only
            _ => 0,
        };
        if digits == 0 || unit == 0 {
            break;
        }
        total = total.checked_add(rest.get(..digits)?.parse::<i64>().ok()?.checked_mul(unit)?)?;
        at += digits + unit_length;
        if !text.get(at..)?.starts_with(|c: char| c.is_ascii_digit()) {
            return Some((Token::Duration(total), at));
        }
    }
    if at > 0 {
        return None;
    }
    let mut length = length_of(text, |c| c.is_ascii_digit() || c == '.');
    let exponent = text.get(length..)?;
    if exponent.starts_with(['e', 'E']) {
        let sign = usize::from(exponent.get(1..)?.starts_with(['+', '-']));
        let digits = length_of(exponent.get(1 + sign..)?, |c| c.is_ascii_digit());
        if digits > 0 {
            length += 1 + sign + digits;
        }
    }
    let value = text.get(..length)?.parse().ok()?;
    Some((Token::Number(value), length))
}

/// A quoted string: its value and its length in bytes.
fn string(text: &str) -> Option<(String, usize)> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next()?;
    let mut value = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((value, at + 1)),
            '\\' if quote != '`' => match chars.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                c @ ('\\' | '"' | '\'') => value.push(c),
                _ => return None,
            },
            c => value.push(c),
        }
    }
    None
}
