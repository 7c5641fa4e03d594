//! A TOML file whose every value knows where it stands. What is wrong is collected, so that one run tells of all of it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::ops::{Range, RangeInclusive};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::libc;
use nix::unistd::Uid;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::mistake::{Kind, Mistake, Wrong};
use crate::nearest::nearest;

/// Longest file that is read, in bytes: what people write is far below.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// Deepest table in tables. What people write has three or four; the parser bounds each key and each value and not both
/// together, and takes thousands.
const MAX_DEPTH: usize = 32;

/// Mistakes told of one file; a file that is wrong everywhere is as wrong as one with these.
const MAX_MISTAKES: usize = 64;

/// Known names told with one mistake: a schema may have many thousands.
const MAX_KNOWN: usize = 64;

/// What is wrong in a text so far.
pub(crate) struct Mistakes<'t> {
    text: &'t str,
    found: RefCell<Vec<(usize, Mistake)>>,
}

impl<'t> Mistakes<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Mistakes { text, found: RefCell::new(Vec::new()) }
    }

    /// Notes that `key`, which begins at byte `at`, is wrong.
    pub(crate) fn note(&self, at: usize, key: &str, wrong: Wrong) {
        if !self.is_full() {
            let (line, column) = place(self.text, at);
            self.found.borrow_mut().push((at, Mistake { line, column, key: key.to_owned(), wrong }));
        }
    }

    /// Whether no more are told.
    pub(crate) fn is_full(&self) -> bool {
        self.found.borrow().len() >= MAX_MISTAKES
    }

    /// All of them in the order of the text.
    pub(crate) fn take(self) -> Vec<Mistake> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|(at, _)| *at);
        found.into_iter().map(|(_, mistake)| mistake).collect()
    }
}

/// Who may have put a file where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Author {
    /// Whoever sets up the node: links lead where they lead.
    Operator,
    /// A module, in the directory it owns: what it cannot read itself the node does not read for it.
    Module,
}

/// The text of a regular file, unless it is too long. Waits for nothing: whoever owns the file's directory may put a pipe there.
///
/// A module's file is no link, has no other name, and belongs to who owns the directory it stands in, to this process's user or
/// to root: any other may be a file the module cannot read and has given a name here.
pub(crate) fn read(path: &Path, author: Author) -> io::Result<String> {
    let mut flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    flags.set(OFlag::O_NOFOLLOW, author == Author::Module);
    let opened = File::options().read(true).custom_flags(flags.bits()).open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) if author == Author::Module => {
            invalid("it is a symbolic link, and a module may have made it: put the file itself there")
        }
        _ => error,
    })?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(invalid("it is no regular file"));
    }
    if author == Author::Module {
        check_of_module(path, &found)?;
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(invalid(format!("it is longer than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

fn invalid(advice: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, advice.into())
}

/// Refuses an opened file that may be another's, with a name that a module gave it.
fn check_of_module(path: &Path, found: &Metadata) -> io::Result<()> {
    if found.nlink() != 1 {
        return Err(invalid(format!(
            "the file has {} names, and a module may have given it this one: put a copy there",
            found.nlink()
        )));
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let owners = [directory.metadata()?.uid(), Uid::effective().as_raw(), 0];
    if !owners.contains(&found.uid()) {
        let (uid, own) = (found.uid(), owners[0]);
        return Err(invalid(format!("user {uid} owns it: give it to user {own}, who owns the directory")));
    }
    Ok(())
}

/// Line and column of a byte, both from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Parses `text`; what is no TOML is noted, and nothing else is looked at then.
pub(crate) fn parse<'t>(text: &'t str, mistakes: &Mistakes<'t>) -> Option<Spanned<DeTable<'t>>> {
    match DeTable::parse(text) {
        Ok(table) => Some(table),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            let message = error.message().trim_end().replace('\n', ", ");
            mistakes.note(at, "", Wrong::Syntax { message });
            None
        }
    }
}

pub(crate) fn kind(value: &DeValue<'_>) -> Kind {
    match value {
        DeValue::String(_) => Kind::String,
        DeValue::Integer(_) => Kind::Integer,
        DeValue::Float(_) => Kind::Float,
        DeValue::Boolean(_) => Kind::Boolean,
        DeValue::Datetime(_) => Kind::Datetime,
        DeValue::Array(_) => Kind::Array,
        DeValue::Table(_) => Kind::Table,
    }
}

/// A table and the keys that lead to it.
pub(crate) struct Section<'d> {
    table: &'d DeTable<'d>,
    at: usize,
    key: String,
    depth: usize,
    mistakes: &'d Mistakes<'d>,
}

/// A value and the keys that lead to it.
pub(crate) struct Item<'d> {
    pub(crate) value: &'d DeValue<'d>,
    pub(crate) key: String,
    /// Where its key begins, or the value itself in an array.
    key_at: usize,
    span: Range<usize>,
    depth: usize,
    mistakes: &'d Mistakes<'d>,
}

impl<'d> Section<'d> {
    /// The file as a whole.
    pub(crate) fn root(table: &'d Spanned<DeTable<'d>>, mistakes: &'d Mistakes<'d>) -> Self {
        Section { table: table.get_ref(), at: 0, key: String::new(), depth: 0, mistakes }
    }

    fn path(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }

    /// Notes every key that is none of `known`.
    pub(crate) fn allow(&self, known: &[&str]) {
        for (name, item) in self.items().filter(|(name, _)| !known.contains(name)) {
            item.unknown_key(name, known);
        }
    }

    /// Every key with its value.
    pub(crate) fn items(&self) -> impl Iterator<Item = (&'d str, Item<'d>)> {
        self.table.iter().map(|(name, value)| {
            let item = Item {
                value: value.get_ref(),
                key: self.path(name.get_ref()),
                key_at: name.span().start,
                span: value.span(),
                depth: self.depth + 1,
                mistakes: self.mistakes,
            };
            (&**name.get_ref(), item)
        })
    }

    /// Every key with its value as it is.
    pub(crate) fn plain(&self) -> toml::Table {
        self.items().filter_map(|(name, item)| Some((name.to_owned(), item.plain()?))).collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<Item<'d>> {
        self.items().find(|(found, _)| *found == name).map(|(_, item)| item)
    }

    /// The value of `name`, which has to be there.
    pub(crate) fn need(&self, name: &str) -> Option<Item<'d>> {
        let item = self.get(name);
        if item.is_none() {
            self.mistakes.note(self.at, &self.path(name), Wrong::Missing);
        }
        item
    }

    /// The string of `name`, if it is there.
    pub(crate) fn string(&self, name: &str) -> Option<String> {
        self.get(name)?.string().map(str::to_owned)
    }

    /// The table of `name`, if it is there.
    pub(crate) fn section(&self, name: &str) -> Option<Section<'d>> {
        self.get(name)?.section()
    }
}

impl<'d> Item<'d> {
    /// Where the key stands: its line, from 1.
    pub(crate) fn line(&self) -> usize {
        place(self.mistakes.text, self.key_at).0
    }

    /// Notes that the value is wrong.
    pub(crate) fn wrong(&self, wrong: Wrong) {
        self.mistakes.note(self.span.start, &self.key, wrong);
    }

    /// Notes that the key is none of `known`; it is called `name`.
    pub(crate) fn unknown_key(&self, name: &str, known: &[&str]) {
        if self.mistakes.is_full() {
            return;
        }
        let nearest = nearest(name, known.iter().copied()).map(str::to_owned);
        let known = known.iter().take(MAX_KNOWN).map(|&name| name.to_owned()).collect();
        self.wrong_key(Wrong::UnknownKey { nearest, known });
    }

    /// Notes that the key is wrong.
    pub(crate) fn wrong_key(&self, wrong: Wrong) {
        self.mistakes.note(self.key_at, &self.key, wrong);
    }

    /// Notes that the value is of another kind.
    pub(crate) fn wrong_kind(&self, expected: Kind) {
        self.wrong(Wrong::Kind { expected, found: kind(self.value) });
    }

    /// Notes that `name` is none of the known ones.
    pub(crate) fn unknown_name<'k>(
        &self,
        what: &'static str,
        name: &str,
        known: impl Iterator<Item = &'k str> + Clone,
    ) {
        let nearest = nearest(name, known.clone()).map(str::to_owned);
        let known = known.take(MAX_KNOWN).map(str::to_owned).collect();
        self.wrong(Wrong::UnknownName { what, name: name.to_owned(), nearest, known });
    }

    pub(crate) fn string(&self) -> Option<&'d str> {
        let found = self.value.as_str();
        if found.is_none() {
            self.wrong_kind(Kind::String);
        }
        found
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        let found = self.value.as_bool();
        if found.is_none() {
            self.wrong_kind(Kind::Boolean);
        }
        found
    }

    /// The value as it is; what no number type holds is noted.
    pub(crate) fn plain(&self) -> Option<toml::Value> {
        let number = |text: &str| {
            self.wrong(Wrong::Number { text: text.to_owned() });
            None
        };
        Some(match self.value {
            DeValue::String(text) => text.clone().into_owned().into(),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(integer) => integer.into(),
                Err(_) => return number(integer.as_str()),
            },
            DeValue::Float(float) => match float.as_str().parse::<f64>() {
                Ok(value) if value.is_finite() || float.as_str().contains(['i', 'n']) => value.into(),
                _ => return number(float.as_str()),
            },
            DeValue::Boolean(value) => (*value).into(),
            DeValue::Datetime(value) => (*value).into(),
            DeValue::Array(_) => {
                let elements = self.elements();
                let plain: Vec<_> = elements.iter().filter_map(Item::plain).collect();
                toml::Value::Array(plain)
            }
            DeValue::Table(_) => toml::Value::Table(self.section()?.plain()),
        })
    }

    /// A whole number in `range`.
    pub(crate) fn number(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let Some(integer) = self.value.as_integer() else {
            self.wrong_kind(Kind::Integer);
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong(Wrong::Range { least: *range.start(), most: *range.end() });
        }
        number
    }

    /// Whether tables in tables end here; noted then.
    fn is_too_deep(&self) -> bool {
        let is_too_deep = self.depth > MAX_DEPTH;
        if is_too_deep {
            self.wrong(Wrong::TooDeep { most: MAX_DEPTH });
        }
        is_too_deep
    }

    pub(crate) fn section(&self) -> Option<Section<'d>> {
        let DeValue::Table(table) = self.value else {
            self.wrong_kind(Kind::Table);
            return None;
        };
        let (key, depth) = (self.key.clone(), self.depth);
        (!self.is_too_deep()).then_some(Section {
            table,
            at: self.key_at,
            key,
            depth,
            mistakes: self.mistakes,
        })
    }

    /// The elements of an array; none if it is no array.
    pub(crate) fn elements(&self) -> Vec<Item<'d>> {
        let DeValue::Array(array) = self.value else {
            self.wrong_kind(Kind::Array);
            return Vec::new();
        };
        if self.is_too_deep() {
            return Vec::new();
        }
        let element = |(index, value): (usize, &'d Spanned<DeValue<'d>>)| Item {
            value: value.get_ref(),
            key: format!("{}[{index}]", self.key),
            key_at: value.span().start,
            span: value.span(),
            depth: self.depth + 1,
            mistakes: self.mistakes,
        };
        array.iter().enumerate().map(element).collect()
    }

    /// The elements of an array of different strings.
    pub(crate) fn strings(&self) -> Vec<(Item<'d>, &'d str)> {
        let mut seen = BTreeSet::new();
        let mut strings = Vec::new();
        for element in self.elements() {
            let Some(text) = element.string() else { continue };
            if seen.insert(text) {
                strings.push((element, text));
            } else {
                element.wrong(Wrong::Twice { value: text.to_owned() });
            }
        }
        strings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_1_in_characters() {
        let text = "a = 1\nü = \"x\"\n";
        assert_eq!(place(text, 0), (1, 1));
        assert_eq!(place(text, text.find('"').unwrap()), (2, 5));
        assert_eq!(place(text, text.len()), (3, 1));
        assert_eq!(place(text, 1000), (3, 1));
    }

    #[test]
    fn mistakes_come_in_the_order_of_the_text_and_not_without_end() {
        let text = "b = 1\na = 2\n";
        let mistakes = Mistakes::new(text);
        let table = parse(text, &mistakes).unwrap();
        let root = Section::root(&table, &mistakes);
        root.get("a").unwrap().string();
        root.get("b").unwrap().string();
        for _ in 0..1000 {
            root.need("c");
        }
        let found = mistakes.take();
        assert_eq!(found.len(), MAX_MISTAKES);
        assert_eq!((found[0].key.as_str(), found[0].line), ("c", 1));
        assert_eq!((found[63].key.as_str(), found[63].line), ("a", 2));
    }

    #[test]
    fn tables_in_thousands_of_tables_are_told_and_overflow_no_stack() {
        let dots = "a.".repeat(78);
        let nested = format!("{dots}a = {{").repeat(78);
        let text = format!("[{dots}a]\n{nested}{}", "}".repeat(78));
        let look = move || {
            let mistakes = Mistakes::new(&text);
            let table = parse(&text, &mistakes).unwrap();
            Section::root(&table, &mistakes).plain();
            drop(table);
            mistakes.take()
        };
        let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(look).unwrap();
        let [only] = &thread.join().unwrap()[..] else { panic!("one mistake") };
        assert_eq!(only.wrong, Wrong::TooDeep { most: MAX_DEPTH });
        let shallow = format!("{}a = 1", "a.".repeat(MAX_DEPTH - 1));
        let mistakes = Mistakes::new(&shallow);
        Section::root(&parse(&shallow, &mistakes).unwrap(), &mistakes).plain();
        assert!(mistakes.take().is_empty());
    }
}
