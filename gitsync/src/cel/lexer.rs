//! From a text to tokens.

use super::Problem;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Int(i64),
    Double(f64),
    Text(String),
    Sign(&'static str),
    End,
}

/// The longest come first.
const SIGNS: [&str; 27] = [
    "&&", "||", "==", "!=", "<=", ">=", ".?", "[?", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".",
    ",", "(", ")", "[", "]", "{", "}", "=",
];

/// All tokens with their places; the last is the end.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, Problem> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    let (mut place, mut counted) = (1, 0);
    loop {
        lexer.skip_blank();
        place += text.get(counted..lexer.at).unwrap_or_default().chars().count();
        counted = lexer.at;
        let token = lexer.token()?;
        let end = token == Token::End;
        tokens.push((token, place));
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    /// In bytes.
    at: usize,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Which character is at a byte, counted from 1.
    fn place(&self, at: usize) -> usize {
        self.text.get(..at).unwrap_or_default().chars().count() + 1
    }

    fn wrong(&self, at: usize, message: impl Into<String>) -> Problem {
        Problem {
            at: self.place(at),
            message: message.into(),
        }
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n']);
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn token(&mut self) -> Result<Token, Problem> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(Token::End);
        };
        let raw = rest
            .strip_prefix(['r', 'R'])
            .filter(|rest| rest.starts_with(['"', '\'']));
        if let Some(quoted) = raw {
            self.at += 1;
            return self.quoted(quoted, true);
        }
        if first == '"' || first == '\'' {
            return self.quoted(rest, false);
        }
        if first.is_ascii_digit() {
            return self.number();
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let name = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
            return Ok(Token::Name(name.to_owned()));
        }
        let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
        match sign {
            Some("=") => Err(self.wrong(self.at, "`=` compares nothing: write `==`")),
            Some(sign) => {
                self.at += sign.len();
                Ok(Token::Sign(sign))
            }
            None => Err(self.wrong(
                self.at,
                format!("{first:?} means nothing here: put texts into quotes"),
            )),
        }
    }

    fn number(&mut self) -> Result<Token, Problem> {
        let from = self.at;
        if let Some(rest) = self.rest().strip_prefix("0x") {
            self.at += 2;
            let digits = self.take(|c| c.is_ascii_hexdigit());
            let _unsigned = self.take(|c| c == 'u' || c == 'U');
            let value = i64::from_str_radix(digits, 16);
            let word = || format!("0x{}", rest.get(..digits.len()).unwrap_or_default());
            return value
                .map(Token::Int)
                .map_err(|_| self.wrong(from, format!("{} is no number that fits into 64 bits", word())));
        }
        self.take(|c| c.is_ascii_digit());
        let mut whole = true;
        let fraction = self.rest().strip_prefix('.');
        if fraction.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
            whole = false;
            self.at += 1;
            self.take(|c| c.is_ascii_digit());
        }
        if self.rest().starts_with(['e', 'E']) {
            whole = false;
            self.at += 1;
            if self.rest().starts_with(['+', '-']) {
                self.at += 1;
            }
            self.take(|c| c.is_ascii_digit());
        }
        let word = self.text.get(from..self.at).unwrap_or_default();
        if whole && self.rest().starts_with(['u', 'U']) {
            self.at += 1;
        }
        let read = if whole {
            word.parse().map(Token::Int).ok()
        } else {
            let value = word.parse().ok().filter(|value: &f64| value.is_finite());
            value.map(Token::Double)
        };
        read.ok_or_else(|| self.wrong(from, format!("{word} is no number that fits into 64 bits")))
    }

    /// A text in quotes, or in three of them.
    fn quoted(&mut self, rest: &'t str, raw: bool) -> Result<Token, Problem> {
        let from = self.at;
        let quote = ["\"\"\"", "'''", "\"", "'"]
            .into_iter()
            .find(|quote| rest.starts_with(quote));
        let quote = quote.unwrap_or("\"");
        self.at += quote.len();
        let mut text = String::new();
        loop {
            let rest = self.rest();
            if rest.starts_with(quote) {
                self.at += quote.len();
                return Ok(Token::Text(text));
            }
            let Some(c) = rest.chars().next() else {
                return Err(self.wrong(from, format!("the text has no end: close it with {quote}")));
            };
            if c == '\n' && quote.len() == 1 {
                return Err(self.wrong(
                    from,
                    format!("the text ends with its line: close it with {quote}"),
                ));
            }
            if c == '\\' && !raw {
                text.push(self.escape()?);
            } else {
                self.at += c.len_utf8();
                text.push(c);
            }
        }
    }

    fn escape(&mut self) -> Result<char, Problem> {
        let from = self.at;
        let mut chars = self.rest().chars().skip(1);
        let letter = chars.next();
        let plain = match letter {
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some(c @ ('\\' | '"' | '\'' | '`' | '?')) => Some(c),
            _ => None,
        };
        if let Some(c) = plain {
            self.at += 2;
            return Ok(c);
        }
        let digits = match letter {
            Some('x' | 'X') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => 0,
        };
        let code = self.rest().get(2..2 + digits).filter(|_| digits > 0);
        let code = code.and_then(|code| u32::from_str_radix(code, 16).ok());
        self.at += 2 + digits;
        code.and_then(char::from_u32).ok_or_else(|| {
            let message =
                "this escape is not known: use \\n, \\t, \\\", \\\\ or \\u00E9, or write the text as r\"…\"";
            self.wrong(from, message)
        })
    }
}
