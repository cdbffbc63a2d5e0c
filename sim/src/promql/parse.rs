//! Tokens to an expression.

use super::lex::{Token, lex, syntax};
use super::{
    Aggregation, Expr, Function, Grouping, MAX_DEPTH, MAX_OPERATORS, MAX_QUERY, Match, NAME, Operator,
    PromqlError, Selector,
};

/// Parses a query.
pub fn parse(text: &str) -> Result<Expr, PromqlError> {
    if text.len() > MAX_QUERY {
        return Err(syntax(MAX_QUERY, "the query is longer than 16 KiB"));
    }
    let tokens = lex(text)?;
    let mut parser = Parser {
        tokens,
        at: 0,
        end: text.len(),
        depth: 0,
        operators: 0,
    };
    let expr = parser.binary(0)?;
    match parser.peek() {
        None => Ok(expr),
        Some(other) => Err(parser.unexpected(&format!("unexpected {other:?}"))),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    end: usize,
    depth: usize,
    operators: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, t)| t)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn unexpected(&self, what: &str) -> PromqlError {
        syntax(self.tokens.get(self.at).map_or(self.end, |(at, _)| *at), what)
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token::Sign(s)) if *s == sign)
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        self.at += usize::from(found);
        found
    }

    fn want_sign(&mut self, sign: &str) -> Result<(), PromqlError> {
        if self.take_sign(sign) {
            Ok(())
        } else {
            Err(self.unexpected(&format!("expected {sign:?}")))
        }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(w)) if w.eq_ignore_ascii_case(word))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    /// The binary operator that comes next, with its precedence.
    fn operator(&self) -> Option<(Operator, u8)> {
        use Operator as O;
        Some(match self.peek()? {
            Token::Word(w) => match w.to_ascii_lowercase().as_str() {
                "or" => (O::Or, 1),
                "and" => (O::And, 2),
                "unless" => (O::Unless, 2),
                _ => return None,
            },
            Token::Sign(s) => match *s {
                "==" => (O::Equal, 3),
                "!=" => (O::NotEqual, 3),
                "<" => (O::Less, 3),
                "<=" => (O::LessEqual, 3),
                ">" => (O::Greater, 3),
                ">=" => (O::GreaterEqual, 3),
                "+" => (O::Add, 4),
                "-" => (O::Subtract, 4),
                "*" => (O::Multiply, 5),
                "/" => (O::Divide, 5),
                "%" => (O::Modulo, 5),
                "^" => (O::Power, 6),
                _ => return None,
            },
            _ => return None,
        })
    }

    fn binary(&mut self, lowest: u8) -> Result<Expr, PromqlError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.unexpected("the query nests too deep"));
        }
        let mut left = self.unary()?;
        while let Some((op, precedence)) = self.operator() {
            if precedence < lowest {
                break;
            }
            self.at += 1;
            // each of them is one level more of what is walked and dropped later
            self.operators += 1;
            if self.operators > MAX_OPERATORS {
                return Err(self.unexpected("the query has too many operators"));
            }
            let bool_result = self.take_word("bool");
            if bool_result && !op.is_comparison() {
                return Err(self.unexpected("bool belongs to comparisons only"));
            }
            let matching = if self.take_word("on") {
                Grouping::By(self.label_list()?)
            } else if self.take_word("ignoring") {
                Grouping::Without(self.label_list()?)
            } else {
                Grouping::Without(Vec::new())
            };
            for many in ["group_left", "group_right"] {
                if self.is_word(many) {
                    return Err(PromqlError::Unsupported(format!("{many} matching")));
                }
            }
            // only `^` groups to the right
            let right = self.binary(if op == Operator::Power {
                precedence
            } else {
                precedence + 1
            })?;
            left = Expr::Binary {
                op,
                bool_result,
                matching,
                left: Box::new(left),
                right: Box::new(right),
            };
        }
        self.depth -= 1;
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, PromqlError> {
        if self.take_sign("-") {
            // binds tighter than `*`, looser than `^`
            return Ok(Expr::Negate(Box::new(self.binary(6)?)));
        }
        if self.take_sign("+") {
            return self.binary(6);
        }
        let expr = self.primary()?;
        if self.is_sign("[") && !matches!(expr, Expr::Select(_)) {
            return Err(PromqlError::Unsupported("subqueries".to_owned()));
        }
        Ok(expr)
    }

    fn primary(&mut self) -> Result<Expr, PromqlError> {
        if self.take_sign("(") {
            let expr = self.binary(0)?;
            self.want_sign(")")?;
            return Ok(expr);
        }
        if self.is_sign("{") {
            return self.selector(None);
        }
        match self.next() {
            Some(Token::Number(v)) => Ok(Expr::Number(v)),
            Some(Token::Word(word)) => self.word(word),
            Some(Token::Text(_)) => Err(PromqlError::Unsupported("string literals".to_owned())),
            _ => {
                self.at -= 1;
                Err(self.unexpected("expected an expression"))
            }
        }
    }

    fn word(&mut self, word: String) -> Result<Expr, PromqlError> {
        let lower = word.to_ascii_lowercase();
        let aggregation = match lower.as_str() {
            "sum" => Some(Aggregation::Sum),
            "avg" => Some(Aggregation::Avg),
            "min" => Some(Aggregation::Min),
            "max" => Some(Aggregation::Max),
            "count" => Some(Aggregation::Count),
            _ => None,
        };
        if let Some(op) = aggregation
            && (self.is_sign("(") || self.is_word("by") || self.is_word("without"))
        {
            return self.aggregate(op);
        }
        if !self.is_sign("(") {
            return match lower.as_str() {
                "stddev" | "stdvar" | "topk" | "bottomk" | "quantile" | "count_values" | "group"
                    if self.is_word("by") || self.is_word("without") =>
                {
                    Err(PromqlError::Unsupported(format!("aggregation {lower}")))
                }
                _ => self.selector(Some(word)),
            };
        }
        let (function, arity) = match word.as_str() {
            "rate" => (Function::Rate, 1),
            "increase" => (Function::Increase, 1),
            "histogram_quantile" => (Function::HistogramQuantile, 2),
            "vector" => (Function::Vector, 1),
            "scalar" => (Function::Scalar, 1),
            _ => return Err(PromqlError::Unsupported(format!("function {word}"))),
        };
        self.want_sign("(")?;
        let mut args = Vec::new();
        while !self.take_sign(")") {
            if !args.is_empty() {
                self.want_sign(",")?;
            }
            args.push(self.binary(0)?);
        }
        if args.len() != arity {
            return Err(self.unexpected(&format!("{word} takes {arity} argument(s), not {}", args.len())));
        }
        Ok(Expr::Call(function, args))
    }

    fn aggregate(&mut self, op: Aggregation) -> Result<Expr, PromqlError> {
        let before = self.grouping()?;
        self.want_sign("(")?;
        let of = Box::new(self.binary(0)?);
        self.want_sign(")")?;
        let grouping = match before {
            Some(grouping) => grouping,
            None => self.grouping()?.unwrap_or(Grouping::By(Vec::new())),
        };
        Ok(Expr::Aggregate { op, grouping, of })
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, PromqlError> {
        Ok(if self.take_word("by") {
            Some(Grouping::By(self.label_list()?))
        } else if self.take_word("without") {
            Some(Grouping::Without(self.label_list()?))
        } else {
            None
        })
    }

    fn label_list(&mut self) -> Result<Vec<String>, PromqlError> {
        self.want_sign("(")?;
        let mut labels = Vec::new();
        while !self.take_sign(")") {
            if !labels.is_empty() {
                self.want_sign(",")?;
            }
            match self.next() {
                Some(Token::Word(label)) => labels.push(label),
                _ => return Err(self.unexpected("expected a label name")),
            }
        }
        Ok(labels)
    }

    fn selector(&mut self, name: Option<String>) -> Result<Expr, PromqlError> {
        let mut matchers: Vec<(String, Match)> = name
            .into_iter()
            .map(|n| (NAME.to_owned(), Match::Equal(n)))
            .collect();
        if self.take_sign("{") {
            while !self.take_sign("}") {
                matchers.push(self.matcher()?);
                if !self.take_sign(",") && !self.is_sign("}") {
                    return Err(self.unexpected("expected \",\" or \"}\""));
                }
            }
        }
        if matchers.is_empty() {
            return Err(self.unexpected("a selector needs a name or a matcher"));
        }
        let range = if self.take_sign("[") {
            let range = self.duration()?;
            if matches!(self.peek(), Some(Token::Word(word)) if word.starts_with(':')) {
                return Err(PromqlError::Unsupported("subqueries".to_owned()));
            }
            self.want_sign("]")?;
            Some(range)
        } else {
            None
        };
        let offset = if self.take_word("offset") {
            let negative = self.take_sign("-");
            let offset = self.duration()?;
            if negative { -offset } else { offset }
        } else {
            0
        };
        if self.is_sign("@") {
            return Err(PromqlError::Unsupported("the @ modifier".to_owned()));
        }
        Ok(Expr::Select(Selector {
            matchers,
            range,
            offset,
        }))
    }

    fn matcher(&mut self) -> Result<(String, Match), PromqlError> {
        let Some(Token::Word(label)) = self.next() else {
            return Err(self.unexpected("expected a label name"));
        };
        let Some(Token::Sign(sign @ ("=" | "!=" | "=~" | "!~"))) = self.next() else {
            return Err(self.unexpected("expected one of = != =~ !~"));
        };
        let Some(Token::Text(value)) = self.next() else {
            return Err(self.unexpected("expected a quoted value"));
        };
        let regex = || {
            regex::Regex::new(&format!("^(?s:{value})$"))
                .map_err(|e| PromqlError::Evaluation(format!("bad regular expression {value:?}: {e}")))
        };
        let m = match sign {
            "=" => Match::Equal(value),
            "!=" => Match::NotEqual(value),
            "=~" => Match::Regex(regex()?),
            _ => Match::NotRegex(regex()?),
        };
        Ok((label, m))
    }

    /// Milliseconds; a plain number is seconds, as in Prometheus 3.
    fn duration(&mut self) -> Result<i64, PromqlError> {
        match self.next() {
            Some(Token::Duration(ms)) if ms > 0 => Ok(ms),
            Some(Token::Number(s)) if s > 0.0 && s < 1e9 => Ok((s * 1000.0) as i64),
            _ => Err(self.unexpected("expected a duration such as 5m")),
        }
    }
}
