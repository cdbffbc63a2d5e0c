//! From source text to tokens.

use std::fmt;

use super::CompileError;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Identifier(String),
    Number(String),
    Str(String),
    Bytes(Vec<u8>),
    Operator(&'static str),
    Bracket(char),
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identifier(text) => write!(f, "Identifier({text:?})"),
            Self::Number(text) => write!(f, "Number({text:?})"),
            Self::Str(text) => write!(f, "String({text:?})"),
            Self::Bytes(bytes) => write!(f, "Bytes({:?})", String::from_utf8_lossy(bytes)),
            Self::Operator(text) => write!(f, "Operator({text:?})"),
            Self::Bracket(bracket) => write!(f, "Bracket(\"{bracket}\")"),
            Self::End => f.write_str("EOF"),
        }
    }
}

/// A token and the byte at which it starts.
#[derive(Debug, Clone)]
pub(super) struct Spanned {
    pub(super) token: Token,
    pub(super) at: u32,
}

/// Words that are operators wherever they stand, except after a dot.
const WORDS: [&str; 11] = [
    "in",
    "or",
    "and",
    "matches",
    "contains",
    "startsWith",
    "endsWith",
    "let",
    "if",
    "else",
    "not",
];

/// Longest first, so that `..` is not read as two dots.
const SYMBOLS: [&str; 30] = [
    "&&", "||", "==", "!=", "<=", ">=", "**", "..", "??", "?.", "::", "|", "!", "=", "*", "<", ">", ",", ";",
    "%", "+", "-", "^", "?", ":", "/", "#", ".", "&", "\\",
];

pub(super) fn tokens(source: &str) -> Result<Vec<Spanned>, CompileError> {
    let mut lexer = Lexer {
        source,
        rest: source,
        out: Vec::new(),
    };
    while lexer.token()? {}
    Ok(lexer.out)
}

struct Lexer<'a> {
    source: &'a str,
    rest: &'a str,
    out: Vec<Spanned>,
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c == '$' || c.is_alphabetic() || c.is_numeric()
}

impl<'a> Lexer<'a> {
    fn at(&self) -> usize {
        self.source.len() - self.rest.len()
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn skip_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !keep(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn push(&mut self, token: Token, at: usize) {
        self.out.push(Spanned { token, at: at as u32 });
    }

    fn error(&self, at: usize, message: impl Into<String>) -> CompileError {
        CompileError::at(self.source, at, message)
    }

    /// Reads one token; false at the end.
    fn token(&mut self) -> Result<bool, CompileError> {
        let at = self.at();
        let Some(c) = self.peek() else {
            self.push(Token::End, at);
            return Ok(false);
        };
        if c.is_whitespace() {
            self.bump();
        } else if self.rest.starts_with("//") {
            self.skip_while(|c| c != '\n');
        } else if let Some(comment) = self.rest.strip_prefix("/*") {
            let Some((_, rest)) = comment.split_once("*/") else {
                return Err(self.error(at, "unclosed comment"));
            };
            self.rest = rest;
        } else if c == '\'' || c == '"' {
            self.bump();
            let text = self.string(c)?;
            self.push(Token::Str(text), at);
        } else if c == '`' {
            self.bump();
            let text = self.raw_string(at)?;
            self.push(Token::Str(text), at);
        } else if self.rest.starts_with("b'") || self.rest.starts_with("b\"") {
            self.bump();
            let quote = self.bump().unwrap_or_default();
            let bytes = self.bytes(quote)?;
            self.push(Token::Bytes(bytes), at);
        } else if c.is_ascii_digit()
            || self
                .rest
                .strip_prefix('.')
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        {
            self.number(at)?;
        } else if matches!(c, '(' | ')' | '[' | ']' | '{' | '}') {
            self.bump();
            self.push(Token::Bracket(c), at);
        } else if is_alphanumeric(c) {
            let word = self.skip_while(is_alphanumeric);
            match WORDS.into_iter().find(|w| *w == word) {
                Some(operator) => self.push(Token::Operator(operator), at),
                None => self.push(Token::Identifier(word.to_owned()), at),
            }
        } else if let Some(symbol) = SYMBOLS
            .into_iter()
            .find(|s| self.rest.starts_with(s))
            .filter(|s| *s != "\\")
        {
            self.rest = self.rest.strip_prefix(symbol).unwrap_or_default();
            self.push(Token::Operator(symbol), at);
        } else {
            return Err(self.error(
                at,
                format!("unrecognized character: U+{:04X} '{c}'", u32::from(c)),
            ));
        }
        Ok(true)
    }

    fn number(&mut self, at: usize) -> Result<(), CompileError> {
        let start = self.rest;
        let digits: fn(char) -> bool = match start.get(..2).unwrap_or_default() {
            "0x" | "0X" => |c| c == '_' || c.is_ascii_hexdigit(),
            "0o" | "0O" => |c| matches!(c, '0'..='7' | '_'),
            "0b" | "0B" => |c| matches!(c, '0' | '1' | '_'),
            _ => |c| c == '_' || c.is_ascii_digit(),
        };
        if matches!(start.get(..2), Some("0x" | "0X" | "0o" | "0O" | "0b" | "0B")) {
            self.bump();
            self.bump();
        }
        self.skip_while(digits);
        // `1..2` is a range, `1.` is a float
        if self.rest.starts_with('.') && !self.rest.starts_with("..") {
            self.bump();
            self.skip_while(digits);
        }
        if self.rest.starts_with(['e', 'E']) {
            self.bump();
            if self.rest.starts_with(['+', '-']) {
                self.bump();
            }
            self.skip_while(digits);
        }
        let bad = self.peek().is_some_and(is_alphanumeric);
        if bad {
            self.bump();
        }
        let word = start.get(..start.len() - self.rest.len()).unwrap_or_default();
        if bad {
            return Err(self.error(at, format!("bad number syntax: {word:?}")));
        }
        self.push(Token::Number(word.to_owned()), at);
        Ok(())
    }

    fn raw_string(&mut self, at: usize) -> Result<String, CompileError> {
        let mut text = String::new();
        loop {
            let Some((part, rest)) = self.rest.split_once('`') else {
                return Err(self.error(at, "literal not terminated"));
            };
            text.push_str(part);
            self.rest = rest;
            // two backticks are one backtick
            let Some(rest) = self.rest.strip_prefix('`') else {
                return Ok(text);
            };
            text.push('`');
            self.rest = rest;
        }
    }

    fn string(&mut self, quote: char) -> Result<String, CompileError> {
        let mut text = String::new();
        loop {
            let at = self.at();
            match self.bump() {
                None | Some('\n') => return Err(self.error(at, "literal not terminated")),
                Some(c) if c == quote => return Ok(text),
                Some('\\') => {
                    let (code, unicode) = self.escape(quote, at)?;
                    if !unicode && code > 0xff {
                        return Err(self.error(at, "unable to unescape string"));
                    }
                    // half of a surrogate pair is no character
                    let c = match code {
                        0xd800..=0xdfff => char::REPLACEMENT_CHARACTER,
                        code => char::from_u32(code).ok_or_else(|| self.error(at, "invalid char escape"))?,
                    };
                    text.push(c);
                }
                Some(c) => text.push(c),
            }
        }
    }

    fn bytes(&mut self, quote: char) -> Result<Vec<u8>, CompileError> {
        let mut bytes = Vec::new();
        loop {
            let at = self.at();
            match self.bump() {
                None | Some('\n') => return Err(self.error(at, "literal not terminated")),
                Some(c) if c == quote => return Ok(bytes),
                Some('\\') => {
                    let (code, unicode) = self.escape(quote, at)?;
                    match u8::try_from(code) {
                        Ok(byte) if !unicode => bytes.push(byte),
                        _ => return Err(self.error(at, "invalid char escape")),
                    }
                }
                Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }

    /// The code after a backslash, and whether it was written as a Unicode code point.
    fn escape(&mut self, quote: char, at: usize) -> Result<(u32, bool), CompileError> {
        let invalid = || CompileError::at(self.source, at, "invalid char escape");
        let c = self.bump().ok_or_else(invalid)?;
        let (radix, length, first) = match c {
            'a' => return Ok((7, false)),
            'b' => return Ok((8, false)),
            'f' => return Ok((12, false)),
            'n' => return Ok((10, false)),
            'r' => return Ok((13, false)),
            't' => return Ok((9, false)),
            'v' => return Ok((11, false)),
            '\\' => return Ok((u32::from('\\'), false)),
            c if c == quote => return Ok((u32::from(quote), false)),
            '0'..='7' => (8, 2, u32::from(c) - u32::from('0')),
            'x' => (16, 2, 0),
            'u' => (16, 4, 0),
            'U' => (16, 8, 0),
            _ => return Err(invalid()),
        };
        let mut code = first;
        for _ in 0..length {
            let digit = self.bump().and_then(|c| c.to_digit(radix)).ok_or_else(invalid)?;
            code = code
                .checked_mul(radix)
                .and_then(|code| code.checked_add(digit))
                .ok_or_else(invalid)?;
        }
        Ok((code, matches!(c, 'u' | 'U')))
    }
}
