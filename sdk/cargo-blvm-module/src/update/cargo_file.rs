//! `blvm-sdk` in a `Cargo.toml`: wherever the author wrote it, from another place, and nothing else changed.

use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, InlineTable, Item, TableLike, Value};

/// Keys that say where a package comes from.
const SOURCE_KEYS: [&str; 7] = ["path", "git", "rev", "branch", "tag", "version", "registry"];

/// Tables of dependencies.
const TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Where the SDK is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum From {
    /// A directory, absolute.
    Path(PathBuf),
    /// A repository or a registry.
    Elsewhere,
    /// The workspace says where.
    Workspace,
}

/// Where a file takes the SDK from, at each place where it names it; a path as seen from `directory`.
pub(super) fn found(document: &mut DocumentMut, directory: &Path) -> Vec<From> {
    let mut found = Vec::new();
    each(document, &mut |item| {
        let table = item.as_table_like();
        let key = |key: &str| table.and_then(|table| table.get(key));
        found.push(match key("path").and_then(Item::as_str) {
            _ if key("workspace").and_then(Item::as_bool) == Some(true) => From::Workspace,
            Some(path) => From::Path(directory.join(path)),
            None => From::Elsewhere,
        });
    });
    found
}

/// Takes the SDK from `source` wherever it is named, except where the workspace says; what it was and what it is.
pub(super) fn take_from(
    document: &mut DocumentMut,
    directory: &Path,
    source: &InlineTable,
) -> Vec<(String, String)> {
    let mut changed = Vec::new();
    each(document, &mut |item| {
        let is_inherited = item.as_table_like().is_some_and(|table| table.contains_key("workspace"));
        if is_inherited || is_same(item, directory, source) {
            return;
        }
        let was = shown(item);
        if let Some(table) = item.as_table_like_mut() {
            replace(table, source);
        } else {
            *item = Item::Value(Value::InlineTable(source.clone()));
        }
        changed.push((was, shown(item)));
    });
    changed
}

fn shown(item: &Item) -> String {
    // Without the spaces and comments around it.
    let bare = |item: &Item| item.as_value().map(|value| value.clone().decorated("", "").to_string());
    let source = |(key, value): (&str, &Item)| {
        SOURCE_KEYS.contains(&key).then(|| bare(value).map(|value| format!("{key} = {value}")))?
    };
    match item.as_table_like() {
        Some(table) => table.iter().filter_map(source).collect::<Vec<_>>().join(", "),
        None => bare(item).unwrap_or_default(),
    }
}

/// Whether it is taken from there already. Two ways to one directory are one.
fn is_same(item: &Item, directory: &Path, source: &InlineTable) -> bool {
    let Some(table) = item.as_table_like() else { return false };
    SOURCE_KEYS.iter().all(|key| {
        let has = table.get(key).and_then(Item::as_str);
        let wants = source.get(key).and_then(Value::as_str);
        match (*key, has, wants) {
            ("path", Some(has), Some(wants)) => {
                let real = |path: &str| directory.join(path).canonicalize().ok();
                has == wants || real(has).is_some_and(|has| Some(has) == real(wants))
            }
            // Beside a path or a repository a version says what must be found there.
            ("version", ..) => true,
            (_, has, wants) => has == wants,
        }
    })
}

fn replace(table: &mut dyn TableLike, source: &InlineTable) {
    let mut orphans = String::new();
    for key in SOURCE_KEYS {
        if !source.contains_key(key) {
            orphans.push_str(&comments_of(table, key));
            table.remove(key);
        }
    }
    for (key, value) in source {
        match table.get_mut(key) {
            // What stands around the value stays: spaces, and in a table of its own a comment.
            Some(Item::Value(old)) => {
                let decor = old.decor().clone();
                *old = value.clone();
                *old.decor_mut() = decor;
            }
            _ => {
                table.insert(key, Item::Value(value.clone()));
            }
        }
    }
    // Comments of what is gone stand before the first key that is left.
    let first = source.iter().map(|(key, _)| key).next();
    if let Some(mut key) = first.filter(|_| !orphans.is_empty()).and_then(|key| table.key_mut(key)) {
        let before = key.leaf_decor().prefix().and_then(|raw| raw.as_str()).unwrap_or_default().to_owned();
        key.leaf_decor_mut().set_prefix(orphans + &before);
    }
}

/// The comments above a key and behind its value, a line each. In an inline table there are none.
fn comments_of(table: &dyn TableLike, key: &str) -> String {
    let text =
        |raw: Option<&toml_edit::RawString>| raw.and_then(|raw| raw.as_str()).unwrap_or_default().to_owned();
    let above = table.key(key).map(|key| text(key.leaf_decor().prefix())).unwrap_or_default();
    let behind = table.get(key).and_then(Item::as_value);
    let behind = behind.map(|value| text(value.decor().suffix())).unwrap_or_default();
    let is_comment = |line: &&str| line.starts_with('#');
    let lines: Vec<&str> = above.lines().chain(behind.lines()).map(str::trim).filter(is_comment).collect();
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Calls `visit` for each dependency that is the SDK, also under another name.
fn each(document: &mut DocumentMut, visit: &mut dyn FnMut(&mut Item)) {
    let root = document.as_table_mut();
    in_tables(root, visit);
    if let Some(targets) = root.get_mut("target").and_then(Item::as_table_like_mut) {
        for (_, target) in targets.iter_mut() {
            if let Some(target) = target.as_table_like_mut() {
                in_tables(target, visit);
            }
        }
    }
    if let Some(workspace) = root.get_mut("workspace").and_then(Item::as_table_like_mut) {
        in_tables(workspace, visit);
    }
}

fn in_tables(table: &mut dyn TableLike, visit: &mut dyn FnMut(&mut Item)) {
    for name in TABLES {
        let Some(dependencies) = table.get_mut(name).and_then(Item::as_table_like_mut) else { continue };
        for (key, item) in dependencies.iter_mut() {
            let renamed = item.as_table_like().and_then(|table| table.get("package")?.as_str());
            if renamed.unwrap_or(key.get()) == "blvm-sdk" {
                visit(item);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> InlineTable {
        [("path", path)].into_iter().collect()
    }

    #[test]
    fn the_sdk_comes_from_elsewhere_and_every_other_character_stays() {
        let text = "# mine\n[package]\nname = \"a\" # here\n\n[dependencies]\nserde = \"1\"\n\
            blvm-sdk = { path = \"/old\", features = [\"storage\"] } # why\n\n\
            [dev-dependencies.kit]\npackage = \"blvm-sdk\"\n# the branch\ngit = \"u\"\nbranch = \"b\" # c\nfeatures = [\"testing\"]\n\n\
            [target.'cfg(unix)'.dependencies]\nblvm-sdk = \"0.1\"\n";
        let mut document: DocumentMut = text.parse().unwrap();
        assert_eq!(
            found(&mut document, Path::new("/here")),
            [From::Path("/old".into()), From::Elsewhere, From::Elsewhere]
        );
        let changed = take_from(&mut document, Path::new("/here"), &path("/new"));
        assert_eq!(changed.len(), 3);
        assert_eq!(changed[0], ("path = \"/old\"".to_owned(), "path = \"/new\"".to_owned()));
        let now = document.to_string();
        for line in [
            "blvm-sdk = { path = \"/new\", features = [\"storage\"] } # why",
            "name = \"a\" # here",
            "serde = \"1\"",
            "features = [\"testing\"]",
            "# the branch\n# c\npath = \"/new\"",
        ] {
            assert!(now.contains(&format!("{line}\n")), "{line}: {now}");
        }
        assert!(!now.contains("git") && !now.contains("branch = "), "{now}");
        assert_eq!(take_from(&mut document, Path::new("/here"), &path("/new")), []);
    }

    #[test]
    fn what_is_there_already_or_is_the_workspaces_is_left() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("sdk")).unwrap();
        std::fs::create_dir_all(root.path().join("module")).unwrap();
        let text = "[dependencies]\nblvm-sdk = { path = \"../sdk\", version = \"0.1\" }\n\
            [dev-dependencies]\nblvm-sdk = { workspace = true, features = [\"testing\"] }\n";
        let mut document: DocumentMut = text.parse().unwrap();
        let sdk = path(root.path().join("sdk").to_str().unwrap());
        let directory = root.path().join("module");
        assert_eq!(take_from(&mut document, &directory, &sdk), []);
        assert_eq!(document.to_string(), text);
        assert_eq!(found(&mut document, &directory)[1], From::Workspace);
        let mut workspace: DocumentMut =
            "[workspace.dependencies]\nblvm-sdk.path = \"sdk\"\n".parse().unwrap();
        assert_eq!(take_from(&mut workspace, Path::new("/w"), &path("/new")).len(), 1);
        assert_eq!(workspace.to_string(), "[workspace.dependencies]\nblvm-sdk.path = \"/new\"\n");
    }
}
