//! The files of a new module. What they say stands in `template/`; `@NAME@`, `@SDK@` and `@SDK_FOR_TESTS@` are filled in.

use toml_edit::{Array, InlineTable};

/// Path in the new directory, and text.
const FILES: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("../template/Cargo.toml.in")),
    ("module.toml", include_str!("../template/module.toml.in")),
    ("config.toml", include_str!("../template/config.toml.in")),
    ("README.md", include_str!("../template/README.md.in")),
    (".gitignore", include_str!("../template/gitignore.in")),
    ("src/main.rs", include_str!("../template/src/main.rs")),
];

/// The files for a module called `name`; `sdk` is the dependency as `Cargo.toml` has it.
pub(crate) fn files(name: &str, sdk: &InlineTable) -> impl Iterator<Item = (&'static str, String)> {
    let mut for_tests = sdk.clone();
    for_tests.insert("features", Array::from_iter(["testing"]).into());
    let [sdk, for_tests] = [sdk, &for_tests].map(|table| table.to_string().trim().to_owned());
    let fill = move |text: &str| {
        text.replace("@NAME@", name).replace("@SDK@", &sdk).replace("@SDK_FOR_TESTS@", &for_tests)
    };
    FILES.iter().map(move |(path, text)| (*path, fill(text)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use blvm_manifest::Manifest;

    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in_and_the_manifest_is_right() {
        let sdk: InlineTable = [("path", "/sdk")].into_iter().collect();
        for (path, text) in files("first-light", &sdk) {
            assert!(!text.contains('@'), "{path}");
            if path == "module.toml" {
                let manifest = Manifest::parse(&text, Path::new(path)).unwrap();
                assert_eq!(
                    (manifest.name.as_str(), manifest.entry_point.as_str()),
                    ("first-light", "first-light")
                );
            }
            if path == "Cargo.toml" {
                let cargo: toml_edit::DocumentMut = text.parse().unwrap();
                for table in ["dependencies", "dev-dependencies"] {
                    assert_eq!(cargo[table]["blvm-sdk"]["path"].as_str(), Some("/sdk"));
                }
                assert_eq!(cargo["dev-dependencies"]["blvm-sdk"]["features"][0].as_str(), Some("testing"));
                assert!(cargo.contains_key("workspace"));
            }
        }
    }
}
