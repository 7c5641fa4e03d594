//! What the names of a source stand for, as far as its own lines say.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{Token, Word};

/// Names of one file.
#[derive(Debug, Default)]
pub(super) struct Names<'s> {
    /// `use a::B as C;` and `type C = a::B;`: what `C` is otherwise called.
    aliases: BTreeMap<&'s str, &'s str>,
    /// Variables, parameters and fields by type: those of `TYPES`.
    typed: BTreeSet<(&'s str, &'s str)>,
    /// Functions that answer a `Client`.
    ask: BTreeSet<&'s str>,
    /// `const NAME: &str = "…";`
    texts: BTreeMap<&'s str, &'s str>,
}

/// Types whose values are looked for by name.
const TYPES: [&str; 5] = ["Client", "Handlers", "Requests", "Session", "Start"];

impl<'s> Names<'s> {
    pub(super) fn of(tokens: &[Token<'s>]) -> Self {
        let mut names = Names::default();
        let mut is_in_use = false;
        for at in 0..tokens.len() {
            match tokens[at].word {
                Word::Name("use") => is_in_use = true,
                Word::Name("as") if is_in_use => names.alias(tokens, at + 1, at.checked_sub(1)),
                Word::Name("type") if is(tokens, at + 2, '=') => {
                    let path = path(tokens, at + 3);
                    if let (Some(alias), Some(last)) = (name(tokens, at + 1), path.last()) {
                        names.aliases.insert(alias, last);
                    }
                }
                Word::Sign(';') => is_in_use = false,
                _ => {}
            }
        }
        // Aliases of types first, then functions and types of fields: what follows asks for them.
        for at in 0..tokens.len() {
            names.function(tokens, at);
            names.text(tokens, at);
        }
        for _ in 0..2 {
            (0..tokens.len()).for_each(|at| names.variable(tokens, at));
        }
        names
    }

    fn alias(&mut self, tokens: &[Token<'s>], alias: usize, of: Option<usize>) {
        let of = of.and_then(|of| name(tokens, of));
        if let (Some(alias), Some(of)) = (name(tokens, alias), of) {
            self.aliases.insert(alias, of);
        }
    }

    /// `x: &mut Client`, also as field and parameter; `let x = y.client();`, `let x = Session::…`, `let Start { requests, .. }`.
    fn variable(&mut self, tokens: &[Token<'s>], at: usize) {
        let Some(variable) = name(tokens, at) else { return };
        if is(tokens, at + 1, ':') && !is(tokens, at + 2, ':') {
            let mut from = at + 2;
            while is(tokens, from, '&')
                || is(tokens, from, '\'')
                || is(tokens, from.wrapping_sub(1), '\'')
                || name(tokens, from) == Some("mut")
            {
                from += 1;
            }
            let path = path(tokens, from);
            let known =
                path.last().and_then(|last| TYPES.into_iter().find(|known| *known == self.real(last)));
            self.typed.extend(known.map(|known| (variable, known)));
        } else if variable == "let" {
            let of = at + 1 + usize::from(name(tokens, at + 1) == Some("mut"));
            let end = (of..tokens.len()).find(|at| is(tokens, *at, ';')).unwrap_or(tokens.len());
            let asked = end.checked_sub(1).and_then(|last| self.asked(tokens, last));
            if asked == Some(true) {
                self.typed.extend(name(tokens, of).map(|variable| (variable, "Client")));
            }
            let made = path(tokens, of + 2);
            let makes = is(tokens, of + 1, '=') && made.len() > 1;
            if makes && self.real(made[made.len() - 2]) == "Session" {
                self.typed.extend(name(tokens, of).map(|variable| (variable, "Session")));
            }
            let parts = (of + 1..end).take_while(|at| !is(tokens, *at, '}'));
            if name(tokens, of).is_some_and(|of| self.real(of) == "Start")
                && parts.filter_map(|at| name(tokens, at)).any(|part| part == "requests")
            {
                self.typed.insert(("requests", "Requests"));
            }
        }
    }

    /// Whether a call that ends at a token answers a client: `Some(true)` if the lines of the file say so, `Some(false)` if it is a
    /// `….client()` of which they do not say whose.
    pub(super) fn asked(&self, tokens: &[Token<'s>], last: usize) -> Option<bool> {
        // Back to the bracket that opens the call.
        let mut depth = 0_usize;
        let mut open = last;
        loop {
            if is(tokens, open, ')') {
                depth += 1;
            } else if is(tokens, open, '(') {
                depth -= 1;
            }
            if depth == 0 {
                break;
            }
            open = open.checked_sub(1)?;
        }
        let function = open.checked_sub(1).filter(|_| open < last)?;
        match name(tokens, function)? {
            asked if self.ask.contains(asked) => Some(true),
            "client" => {
                let on = function.checked_sub(2).filter(|_| is(tokens, function - 1, '.'));
                let of = |at: usize| name(tokens, at);
                let is_field_of_start = |at: usize| {
                    of(at) == Some("requests")
                        && at >= 2
                        && of(at - 2).is_some_and(|start| self.has_type(start, "Start"))
                };
                let is_known = |at: usize| {
                    of(at).is_some_and(|on| self.has_type(on, "Session") || self.has_type(on, "Requests"))
                };
                Some(on.is_some_and(|at| is_known(at) || is_field_of_start(at)))
            }
            _ => None,
        }
    }

    /// `fn x(…) -> Client`.
    fn function(&mut self, tokens: &[Token<'s>], at: usize) {
        if name(tokens, at) != Some("fn") {
            return;
        }
        let is_end = |at: &usize| is(tokens, *at, '{') || is(tokens, *at, ';');
        let end = (at..tokens.len()).find(is_end).unwrap_or(tokens.len());
        let arrow = (at..end).rev().find(|at| is(tokens, *at, '-') && is(tokens, *at + 1, '>'));
        let answer = arrow.map(|arrow| path(tokens, arrow + 2));
        if answer.and_then(|path| path.last().copied()).is_some_and(|last| self.real(last) == "Client") {
            self.ask.extend(name(tokens, at + 1));
        }
    }

    fn text(&mut self, tokens: &[Token<'s>], at: usize) {
        if !matches!(name(tokens, at), Some("const" | "static")) {
            return;
        }
        let end = (at..tokens.len()).find(|at| is(tokens, *at, ';')).unwrap_or(at);
        let is_alone = end >= 2 && is(tokens, end - 2, '=');
        if let (true, Some(constant), Some(Word::Text(text))) =
            (is_alone, name(tokens, at + 1), tokens.get(end - 1).map(|token| token.word))
        {
            self.texts.insert(constant, text);
        }
    }

    /// What a name stands for.
    pub(super) fn real(&self, name: &'s str) -> &'s str {
        self.aliases.get(name).copied().unwrap_or(name)
    }

    /// Whether a variable or field of that name has that type.
    pub(super) fn has_type(&self, variable: &'s str, of: &'static str) -> bool {
        self.typed.contains(&(variable, of))
    }

    /// The text of a constant.
    pub(super) fn text_of(&self, constant: &str) -> Option<&'s str> {
        self.texts.get(constant).copied()
    }
}

/// Whether a sign stands there.
pub(super) fn is(tokens: &[Token<'_>], at: usize, sign: char) -> bool {
    tokens.get(at).is_some_and(|token| token.word == Word::Sign(sign))
}

/// The name that stands there.
pub(super) fn name<'s>(tokens: &[Token<'s>], at: usize) -> Option<&'s str> {
    tokens.get(at).and_then(Token::name)
}

/// The names of a path, `a::b::C`, that begins at a token.
pub(super) fn path<'s>(tokens: &[Token<'s>], from: usize) -> Vec<&'s str> {
    let mut names = Vec::new();
    let mut at = from;
    if is(tokens, at, ':') {
        at += 2;
    }
    while let Some(part) = name(tokens, at) {
        names.push(part);
        if !is(tokens, at + 1, ':') || !is(tokens, at + 2, ':') {
            break;
        }
        at += 3;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::*;

    #[test]
    fn names_stand_for_what_the_source_says() {
        let source = "use blvm_sdk::{Chain as C, Client as Node}; type M = blvm_sdk::Mempool;
            const RAIN: &str = \"Rain\"; const SUM: u8 = 1 + 2;
            struct A { node: Node, other: u8 }
            fn ask(&self) -> blvm_sdk::Client { self.requests.client() }
            fn take<'a>(given: &'a mut blvm_sdk::Client, handlers: &mut Handlers<Self>) {
                let mut mine = self.requests.client(); let other = x.client(); let called = x.ask(); let page = x.page();
                let mut session = blvm_sdk::Session::attach(topics, Wait::Park)?; let more = session.client();
            }
            struct B { requests: Requests }";
        let tokens = tokens(source);
        let names = Names::of(&tokens);
        assert_eq!([names.real("C"), names.real("M"), names.real("X")], ["Chain", "Mempool", "X"]);
        assert_eq!((names.text_of("RAIN"), names.text_of("SUM")), (Some("Rain"), None));
        for client in ["node", "given", "mine", "called", "more"] {
            assert!(names.has_type(client, "Client"), "{client}");
        }
        assert!(["page", "other"].iter().all(|other| !names.has_type(other, "Client")));
        assert!(names.has_type("handlers", "Handlers"));
    }
}
