//! Installed modules, brought to what they were installed from.

use serde_json::json;

use super::UpdateArguments;
use crate::directory::DirectoryError;
use crate::error::{ToolError, with_causes};
use crate::install::{InstallError, Installed, Order, Outcome, Puts, Source};
use crate::list::installed_names;
use crate::output::Output;

/// Why installed modules are not up to date.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpdateInstalledError {
    #[error("{count} of {all} modules were not brought up to date: why stands above")]
    Failed { count: usize, all: usize },
    #[error("not up to date: {}; the same command without --check brings them up to date", names.join(", "))]
    Behind { names: Vec<String> },
}

/// `update NAME…`, `update --all`. What fails with one module is told, and the others go on.
pub(super) fn update(arguments: &UpdateArguments, output: Output) -> Result<(), ToolError> {
    let directory = arguments.directory.modules_directory().map_err(InstallError::from)?;
    let installed = installed_names(&directory);
    let names = if arguments.all { installed.clone() } else { arguments.names.clone() };
    if let Some(name) = names.iter().find(|name| !installed.contains(name)) {
        let (name, path) = (name.clone(), directory);
        return Err(DirectoryError::NotInstalled { name, path, installed }.into());
    }
    let (mut updated, mut behind, mut failed) = (Vec::new(), Vec::new(), 0);
    for name in &names {
        match one(name, arguments, output) {
            Ok(installed) => {
                let (text, mut json) = installed.told(&arguments.directory);
                json["event"] = match installed.outcome {
                    Outcome::Put => "updated",
                    Outcome::Same => "up_to_date",
                    Outcome::Other => "behind",
                }
                .into();
                output.progress(&text, &json)?;
                match installed.outcome {
                    Outcome::Put => updated.push(name.clone()),
                    Outcome::Other => behind.push(name.clone()),
                    Outcome::Same => {}
                }
            }
            Err(error) => {
                let error = with_causes(&error);
                let json = json!({ "event": "not_updated", "module": name, "error": error });
                output.progress(&format!("{name} stays as it is: {error}"), &json)?;
                failed += 1;
            }
        }
    }
    if failed > 0 {
        return Err(UpdateInstalledError::Failed { count: failed, all: names.len() }.into());
    }
    if !behind.is_empty() {
        return Err(UpdateInstalledError::Behind { names: behind }.into());
    }
    let text = format!("{} of {} modules replaced; the others were up to date", updated.len(), names.len());
    output.result(&text, &json!({ "result": "updated", "modules": names, "replaced": updated }))
}

fn one(name: &str, arguments: &UpdateArguments, output: Output) -> Result<Installed, ToolError> {
    let installed = arguments.directory.modules_directory().map_err(InstallError::from)?.join(name);
    let source = Source::of(&installed).ok_or_else(|| InstallError::NoSource { name: name.to_owned() })?;
    let order = Order {
        name: Some(name),
        source: &source,
        builds: true,
        puts: if arguments.check { Puts::Never } else { Puts::IfOther },
        cargo: &arguments.cargo,
        directory: &arguments.directory,
    };
    order.carry_out(output)
}
