//! The sources of a module's program: from the file that Cargo compiles along its `mod` items, in the module's own package and in
//! those it depends on that use the SDK too.
//!
//! Files that no `mod` item names are not part of the program, and neither are tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::tokens::{Token, Word, tokens};
use crate::error::FileFault;

/// Whose source it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// The module's own package: all of it is the program.
    Module,
    /// A package it depends on, by its name: the program may use all of it, or a part.
    Dependency(String),
}

/// One file.
#[derive(Debug)]
pub(super) struct Source {
    /// Whose.
    pub(super) owner: Owner,
    /// Its path, from the module's directory on where it is in there.
    pub(super) shown: String,
    /// What stands in it.
    pub(super) text: String,
    /// Whether its `mod` item stands under a `#[cfg(…)]`.
    pub(super) is_conditional: bool,
}

/// All sources of the program `program`; `metadata` is what `cargo metadata` says.
pub(super) fn sources(directory: &Path, program: &str, metadata: &Value) -> Result<Vec<Source>, FileFault> {
    let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    let mut sources = Vec::new();
    for (owner, root) in roots(program, metadata) {
        for (path, text, is_conditional) in files(&root)? {
            let shown = path.strip_prefix(&directory).unwrap_or(&path).display().to_string();
            sources.push(Source { owner: owner.clone(), shown, text, is_conditional });
        }
    }
    // The author's own first.
    sources.sort_by_key(|source| source.owner != Owner::Module);
    Ok(sources)
}

/// The files that Cargo begins with.
fn roots(program: &str, metadata: &Value) -> Vec<(Owner, PathBuf)> {
    let root = &metadata["resolve"]["root"];
    let mut roots = Vec::new();
    for package in list(&metadata["packages"]) {
        let is_module = package["id"] == *root;
        let name = package["name"].as_str().unwrap_or_default();
        let owner = if is_module { Owner::Module } else { Owner::Dependency(name.to_owned()) };
        if !is_module && !users_of_sdk(metadata).contains(package["id"].as_str().unwrap_or_default()) {
            continue;
        }
        for target in list(&package["targets"]) {
            let is = |kind: &str| list(&target["kind"]).iter().any(|found| found == kind);
            let is_library = ["lib", "rlib", "dylib", "staticlib", "cdylib"].into_iter().any(is);
            if is_library || is_module && is("bin") && target["name"] == program {
                roots.extend(target["src_path"].as_str().map(|path| (owner.clone(), PathBuf::from(path))));
            }
        }
    }
    roots
}

/// Packages that the module is built with and that use the SDK themselves, by their ids. Others cannot ask the node.
fn users_of_sdk(metadata: &Value) -> BTreeSet<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut needs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let is_built_in =
            |needed: &&Value| list(&needed["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        let needed = list(&node["deps"]).iter().filter(is_built_in).map(|needed| text(&needed["pkg"]));
        needs.insert(text(&node["id"]), needed.collect());
    }
    let reached = |from: String| {
        let mut reached = BTreeSet::new();
        let mut waiting = vec![from];
        while let Some(package) = waiting.pop() {
            if reached.insert(package.clone()) {
                waiting.extend(needs.get(&package).into_iter().flatten().cloned());
            }
        }
        reached
    };
    let packages = list(&metadata["packages"]);
    let Some(sdk) = packages.iter().find(|package| package["name"] == "blvm-sdk") else {
        return BTreeSet::new();
    };
    let sdk = text(&sdk["id"]);
    let of_sdk = reached(sdk.clone());
    let others = reached(text(&metadata["resolve"]["root"])).into_iter();
    others.filter(|package| !of_sdk.contains(package) && reached(package.clone()).contains(&sdk)).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A crate's files with their texts, along its `mod` items, and whether each is compiled only under some condition. What is not there where Rust looks first is left out: it may be meant
/// for another system.
///
/// Source: the Rust reference, "Module Source Filenames".
fn files(root: &Path) -> Result<Vec<(PathBuf, String, bool)>, FileFault> {
    let mut files = Vec::new();
    let mut seen = BTreeSet::new();
    let beside = |path: &Path| path.parent().unwrap_or(Path::new("")).to_owned();
    let mut waiting = vec![(root.to_owned(), beside(root), false)];
    while let Some((path, children, is_conditional)) = waiting.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(FileFault::at(&path, "read"))?;
        for Submodule { outer, name, path: told, is_conditional: here } in submodules(&program_tokens(&text))
        {
            let place = outer.iter().fold(children.clone(), |place, outer| place.join(outer));
            let found = match told {
                Some(told) if outer.is_empty() => vec![beside(&path).join(told)],
                Some(told) => vec![place.join(told)],
                None => vec![place.join(format!("{name}.rs")), place.join(&name).join("mod.rs")],
            };
            if let Some(file) = found.into_iter().find(|file| file.is_file()) {
                let is_root = file.file_name().is_some_and(|name| name == "mod.rs");
                let children = if is_root { beside(&file) } else { place.join(&name) };
                waiting.push((file, children, is_conditional || here));
            }
        }
        files.push((path, text, is_conditional));
    }
    files.sort();
    Ok(files)
}

/// `mod name;`, the modules it stands in within its file, and `#[path = "…"]` before it.
struct Submodule {
    outer: Vec<String>,
    name: String,
    path: Option<String>,
    is_conditional: bool,
}

fn submodules(tokens: &[Token<'_>]) -> Vec<Submodule> {
    let word = |at: usize| tokens.get(at).map(|token| token.word);
    let mut found = Vec::new();
    // Modules that are open, with the depth of braces they stand in.
    let mut open: Vec<(usize, &str)> = Vec::new();
    let mut depth = 0_usize;
    let mut path = None;
    for (at, token) in tokens.iter().enumerate() {
        match token.word {
            Word::Sign('{') => depth += 1,
            Word::Sign('}') => {
                depth = depth.saturating_sub(1);
                open.pop_if(|(outer, _)| *outer == depth);
            }
            Word::Sign(';') => path = None,
            Word::Name("path") if word(at + 1) == Some(Word::Sign('=')) => {
                if let Some(Word::Text(text)) = word(at + 2) {
                    path = Some(text.to_owned());
                }
            }
            Word::Name("mod") => match (word(at + 1), word(at + 2)) {
                (Some(Word::Name(name)), Some(Word::Sign('{'))) => open.push((depth, name)),
                (Some(Word::Name(name)), Some(Word::Sign(';'))) => {
                    let outer = open.iter().map(|(_, name)| (*name).to_owned()).collect();
                    let is_conditional = token.is_conditional;
                    found.push(Submodule { outer, name: name.to_owned(), path: path.take(), is_conditional });
                }
                _ => {}
            },
            _ => {}
        }
    }
    found
}

/// The words of a source without those of its tests: items under `#[test]` or under a `#[cfg(…)]` that needs `test`. Items under
/// another `#[cfg(…)]` are marked: whether it holds is not known here.
pub(super) fn program_tokens(source: &str) -> Vec<Token<'_>> {
    let tokens = tokens(source);
    let mut kept = Vec::with_capacity(tokens.len());
    let (mut at, mut conditional_to) = (0, 0);
    while at < tokens.len() {
        let end = match attribute(&tokens, at) {
            Some((_, true, Leaves::Tests)) => return Vec::new(),
            Some((end, false, Leaves::Tests)) => {
                at = after_item(&tokens, end);
                continue;
            }
            Some((end, is_of_file, Leaves::Some)) => {
                let item = if is_of_file { tokens.len() } else { after_item(&tokens, end) };
                conditional_to = conditional_to.max(item);
                end
            }
            Some((end, _, Leaves::All)) => end,
            None => at + 1,
        };
        for (place, token) in tokens.iter().enumerate().take(end).skip(at) {
            kept.push(Token { is_conditional: place < conditional_to, ..token.clone() });
        }
        at = end;
    }
    kept
}

/// In which programs an attribute leaves what it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    /// In each.
    All,
    /// In some: for a system, with a feature.
    Some,
    /// In tests.
    Tests,
}

/// The attribute that begins at a token: where it ends, whether it is one of the whole file, and where it leaves that.
fn attribute(tokens: &[Token<'_>], at: usize) -> Option<(usize, bool, Leaves)> {
    let is = |at: usize, sign| tokens.get(at).is_some_and(|token| token.word == Word::Sign(sign));
    if !is(at, '#') {
        return None;
    }
    let is_inner = is(at + 1, '!');
    let from = at + 1 + usize::from(is_inner);
    if !is(from, '[') {
        return None;
    }
    let end = after_group(tokens, from);
    let inside = &tokens[from..end];
    let names: Vec<_> = inside.iter().filter_map(Token::name).collect();
    let path = inside.iter().take_while(|token| token.word != Word::Sign('('));
    let leaves = match names[..] {
        ["cfg", "not", "test"] => Leaves::All,
        ["cfg", ..] if !names.contains(&"test") || names.contains(&"not") || names.contains(&"any") => {
            Leaves::Some
        }
        ["cfg", ..] => Leaves::Tests,
        _ if path.filter_map(Token::name).last() == Some("test") => Leaves::Tests,
        _ => Leaves::All,
    };
    Some((end, is_inner, leaves))
}

/// Behind the bracket that closes the one at a token.
fn after_group(tokens: &[Token<'_>], from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.word {
            Word::Sign('(' | '[' | '{') => depth += 1,
            Word::Sign(')' | ']' | '}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// Behind an item: its semicolon or its braces; or before the brace that closes what it stands in.
fn after_item(tokens: &[Token<'_>], from: usize) -> usize {
    let mut at = from;
    while let Some(token) = tokens.get(at) {
        match token.word {
            Word::Sign(';') => return at + 1,
            Word::Sign('{') => return after_group(tokens, at),
            Word::Sign('(' | '[') => at = after_group(tokens, at),
            Word::Sign('}') => return at,
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(source: &str) -> Vec<&str> {
        program_tokens(source).iter().filter_map(Token::name).filter(|name| name.len() == 1).collect()
    }

    #[test]
    fn tests_are_no_part_of_the_program() {
        for (source, left) in [
            ("a #[cfg(test)] mod tests { b; { c } d } e", "ae"),
            ("a #[cfg(test)] use b; c", "ac"),
            ("#[test] fn f(b: [u8; 2]) { c } d", "d"),
            ("#[tokio::test] #[ignore] async fn f() { c } d", "d"),
            ("#[cfg(all(test, unix))] mod t { b } c", "c"),
            ("#[cfg(not(test))] mod t { b } c", "bc"),
            ("#[cfg(any(test, unix))] mod t { b } c", "bc"),
            ("x { a #[cfg(test)] b: c } d", "xad"),
            ("#![cfg(test)] a", ""),
            ("#![forbid(b)] a", "ba"),
        ] {
            let left: Vec<String> = left.chars().map(String::from).collect();
            let found: Vec<_> = names(source).into_iter().filter(|name| !["f", "t"].contains(name)).collect();
            assert_eq!(found, left, "{source}");
        }
    }

    #[test]
    fn what_stands_under_a_condition_is_marked() {
        for (source, marked) in [
            ("a #[cfg(feature = \"x\")] fn f() { b } c", "b"),
            ("a #[cfg(not(test))] fn f() { b } c", ""),
            ("#[cfg(any(test, unix))] #[allow(x)] mod t { b #[cfg(windows)] use c; } d", "xbc"),
            ("#![cfg(unix)] a", "a"),
            ("x { a #[cfg(unix)] b; c } d", "b"),
        ] {
            let tokens = program_tokens(source);
            let found = tokens.iter().filter(|token| token.is_conditional).filter_map(Token::name);
            let found: String = found.filter(|name| name.len() == 1 && !["f", "t"].contains(name)).collect();
            assert_eq!(found, marked, "{source}");
        }
    }

    #[test]
    fn a_crate_has_the_files_that_its_mod_items_name() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "main.rs",
            "mod a; #[cfg(unix)] mod b; mod i { mod deep; } #[path = \"else/where.rs\"] mod p; mod gone; #[cfg(test)] mod t;",
        );
        write("a.rs", "mod inner;");
        write("a/inner.rs", "");
        write("b/mod.rs", "mod under;");
        write("b/under.rs", "");
        write("i/deep.rs", "");
        write("else/where.rs", "");
        for stray in ["stray.rs", "t.rs", "inner.rs"] {
            write(stray, "");
        }
        let files = files(&root.path().join("main.rs")).unwrap();
        let names = files.iter().map(|(path, ..)| path.strip_prefix(root.path()).unwrap().to_str().unwrap());
        let expected =
            ["a/inner.rs", "a.rs", "b/mod.rs", "b/under.rs", "else/where.rs", "i/deep.rs", "main.rs"];
        assert_eq!(names.collect::<Vec<_>>(), expected);
        let conditional =
            files.iter().filter(|file| file.2).map(|(path, ..)| path.strip_prefix(root.path()).unwrap());
        assert_eq!(conditional.collect::<Vec<_>>(), [Path::new("b/mod.rs"), Path::new("b/under.rs")]);
    }

    #[test]
    fn of_the_dependencies_only_those_that_use_the_sdk_are_looked_at() {
        let package = |name: &str, kind: &str| {
            json!({ "id": name, "name": name,
                "targets": [{ "name": name, "kind": [kind], "src_path": format!("/{name}.rs") }] })
        };
        let node = |name: &str, deps: &[(&str, Option<&str>)]| {
            let deps: Vec<_> = deps
                .iter()
                .map(|(name, kind)| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] }))
                .collect();
            json!({ "id": name, "deps": deps })
        };
        let metadata = json!({
            "packages": [package("pool", "bin"), package("common", "lib"), package("serde", "lib"),
                package("blvm-sdk", "lib"), package("blvm-bus", "lib"), package("kit", "lib")],
            "resolve": { "root": "pool", "nodes": [
                node("pool", &[("common", None), ("serde", None), ("blvm-sdk", None), ("kit", Some("dev"))]),
                node("common", &[("blvm-sdk", None)]), node("serde", &[]), node("kit", &[("blvm-sdk", None)]),
                node("blvm-sdk", &[("blvm-bus", None)]), node("blvm-bus", &[])] },
        });
        let found = roots("pool", &metadata);
        let expected = [
            (Owner::Module, PathBuf::from("/pool.rs")),
            (Owner::Dependency("common".to_owned()), PathBuf::from("/common.rs")),
        ];
        assert_eq!(found, expected);
        assert_eq!(roots("other", &metadata).len(), 1);
    }
}
