//! The published figures of an empty module: how many packages it needs, and that none of them compiles C or C++.

use std::process::Command;

use super::root;

/// What compiles, or looks for, code in C or C++.
const COMPILERS: [&str; 6] = ["bindgen", "cc", "cmake", "cxx", "pkg-config", "vcpkg"];

/// The packages of the tree, without their versions.
fn packages() -> Vec<String> {
    let output = Command::new(root().join("scripts/module-size")).arg("--tree").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_packages_of_an_empty_module_are_as_many_as_is_published() {
    let packages = packages();
    assert!(packages.contains(&"blvm-sdk".to_owned()), "{packages:?}");
    let document = std::fs::read_to_string(root().join("docs/sdk.md")).unwrap();
    let row = document.lines().find(|line| line.starts_with("| packages in its tree")).unwrap();
    let published: usize = row.split('|').nth(2).unwrap().trim().parse().unwrap();
    assert_eq!(
        packages.len(),
        published,
        "write the new count into docs/sdk.md, if it has to be: {packages:?}"
    );
}

#[test]
fn no_package_of_an_empty_module_compiles_c_or_is_the_nodes() {
    let packages = packages();
    let found = |names: &[&str]| packages.iter().filter(|package| names.contains(&package.as_str())).count();
    assert_eq!(found(&COMPILERS), 0, "{packages:?}");
    assert_eq!(found(&["blvm-kernel", "blvm-node-adapter", "blvm-sandbox", "bitcoin"]), 0, "{packages:?}");
}
