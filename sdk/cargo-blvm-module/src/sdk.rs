//! Where the SDK comes from: a directory, or a repository.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use toml_edit::InlineTable;

/// Why there is no SDK.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SdkError {
    #[error("{} holds no blvm-sdk: give the directory of the SDK, or its repository with --sdk-git URL", path.display())]
    None { path: PathBuf },
    #[error(
        "the SDK that this tool was built beside is no longer at {}: say where it is with --sdk DIR, or --sdk-git URL",
        path.display()
    )]
    Gone { path: PathBuf },
}

/// Which SDK.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SdkArguments {
    /// Directory of the SDK it depends on; without it the one this tool was built beside.
    #[arg(long, value_name = "DIR", conflicts_with = "sdk_git")]
    pub(crate) sdk: Option<PathBuf>,

    /// Git repository of the SDK it depends on.
    #[arg(long, value_name = "URL")]
    pub(crate) sdk_git: Option<String>,

    /// Commit of that repository.
    #[arg(long, value_name = "COMMIT", requires = "sdk_git", conflicts_with = "branch")]
    pub(crate) rev: Option<String>,

    /// Branch of that repository.
    #[arg(long, value_name = "NAME", requires = "sdk_git")]
    pub(crate) branch: Option<String>,
}

impl SdkArguments {
    /// Whether one is asked for.
    pub(crate) fn is_given(&self) -> bool {
        self.sdk.is_some() || self.sdk_git.is_some()
    }
}

/// Where the SDK comes from.
#[derive(Debug)]
pub(crate) enum Sdk {
    /// A directory.
    Path(PathBuf),
    /// A repository, and what of it: `rev` or `branch`, and which.
    Git { url: String, at: Option<(&'static str, String)> },
}

impl Sdk {
    /// The one asked for, or the one this tool was built beside.
    pub(crate) fn find(arguments: &SdkArguments) -> Result<Self, SdkError> {
        if let Some(url) = &arguments.sdk_git {
            let rev = arguments.rev.clone().map(|rev| ("rev", rev));
            let at = rev.or_else(|| arguments.branch.clone().map(|branch| ("branch", branch)));
            return Ok(Sdk::Git { url: url.clone(), at });
        }
        let built_beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let path = arguments.sdk.as_deref().unwrap_or(&built_beside);
        match fs::canonicalize(path).ok().filter(|path| is_sdk(path)) {
            Some(path) => Ok(Sdk::Path(path)),
            None if arguments.sdk.is_none() => Err(SdkError::Gone { path: path.to_owned() }),
            None => Err(SdkError::None { path: path.to_owned() }),
        }
    }

    /// As `Cargo.toml` has it.
    pub(crate) fn dependency(&self) -> InlineTable {
        let mut table = InlineTable::new();
        match self {
            Sdk::Path(path) => {
                table.insert("path", path.to_string_lossy().into_owned().into());
            }
            Sdk::Git { url, at } => {
                table.insert("git", url.clone().into());
                if let Some((key, value)) = at {
                    table.insert(*key, value.clone().into());
                }
            }
        }
        table
    }

    /// The versions of everything that the SDK was tested with.
    pub(crate) fn lock_file(&self) -> Option<PathBuf> {
        let Sdk::Path(path) = self else { return None };
        path.ancestors().map(|place| place.join("Cargo.lock")).find(|file| file.is_file())
    }
}

/// Whether a directory is that of the SDK.
fn is_sdk(path: &Path) -> bool {
    let cargo = fs::read_to_string(path.join("Cargo.toml")).ok();
    let cargo = cargo.and_then(|text| text.parse::<toml_edit::DocumentMut>().ok());
    cargo.is_some_and(|cargo| {
        cargo.get("package").and_then(|package| package.get("name")?.as_str()) == Some("blvm-sdk")
    })
}
