//! The methods of the node itself, and what each asks for.

use std::fmt;

use jsonrpsee_server::types::ErrorObjectOwned;
use serde::Serialize;
use serde_json::Value;

use super::error::invalid_params;
use super::parameters::Given;

/// A method of the node itself.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Method {
    /// As it is called.
    pub name: &'static str,
    /// In their order.
    pub parameters: &'static [Parameter],
    /// What it does.
    pub about: &'static str,
    #[serde(skip)]
    pub(super) asks_for: fn(&mut Given) -> Call,
}

/// A parameter of a method.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Parameter {
    /// As it is given.
    pub name: &'static str,
    /// What it may be.
    pub kind: ParameterKind,
    /// Whether it must be given.
    pub is_required: bool,
    /// What it means.
    pub about: &'static str,
}

/// What a parameter may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterKind {
    /// A string.
    Text,
    /// A list of strings.
    Texts,
}

impl fmt::Display for ParameterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParameterKind::Text => "a text",
            ParameterKind::Texts => "a list of texts",
        })
    }
}

/// What a client asks for. Methods that are not the node's own are looked for among those of its modules.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Call {
    /// The methods; or one of them, where it is not empty.
    Help {
        /// Which.
        method: String,
    },
    /// The bus.
    BusInfo,
    /// The end of the node.
    Stop,
    /// Start a module.
    LoadModule {
        /// Which.
        name: String,
    },
    /// Stop a module, and those that depend on it.
    UnloadModule {
        /// Which.
        name: String,
    },
    /// Stop a module and start it anew.
    ReloadModule {
        /// Which.
        name: String,
    },
    /// All modules.
    ListModules,
    /// One module.
    ModuleInfo {
        /// Which.
        name: String,
    },
    /// The figures that modules report.
    ModuleMetrics {
        /// Of which module; of all where it is empty.
        name: String,
    },
    /// The commands of all modules.
    ModuleCliSpecs,
    /// A module's command.
    RunModuleCli {
        /// Whose.
        module: String,
        /// The command, then its arguments.
        arguments: Vec<String>,
    },
    /// A method that a module may have registered.
    Module {
        /// Its name.
        method: String,
        /// Its parameters, as the client gave them: an object, a list or null.
        params: Value,
    },
}

const fn required(name: &'static str, kind: ParameterKind, about: &'static str) -> Parameter {
    Parameter { name, kind, is_required: true, about }
}

const MODULE_NAME: &[Parameter] =
    &[required("name", ParameterKind::Text, "the module, as its module.toml names it")];

/// The node's own methods.
pub const METHODS: &[Method] = &[
    Method {
        name: "getbusinfo",
        parameters: &[],
        about: "the run, and the segments of the bus with what was published",
        asks_for: |_| Call::BusInfo,
    },
    Method {
        name: "getmoduleclispecs",
        parameters: &[],
        about: "the commands that loaded modules have registered",
        asks_for: |_| Call::ModuleCliSpecs,
    },
    Method {
        name: "getmoduleinfo",
        parameters: MODULE_NAME,
        about: "one module: version, state, process, permissions, isolation, statistics",
        asks_for: |given| Call::ModuleInfo { name: given.text("name") },
    },
    Method {
        name: "getmodulemetrics",
        parameters: &[Parameter {
            name: "name",
            kind: ParameterKind::Text,
            is_required: false,
            about: "only this module",
        }],
        about: "the figures that modules report of themselves",
        asks_for: |given| Call::ModuleMetrics { name: given.text("name") },
    },
    Method {
        name: "help",
        parameters: &[Parameter {
            name: "method",
            kind: ParameterKind::Text,
            is_required: false,
            about: "only this one",
        }],
        about: "the methods with their parameters, those of modules included",
        asks_for: |given| Call::Help { method: given.text("method") },
    },
    Method {
        name: "listmodules",
        parameters: &[],
        about: "all modules that are loaded, or were given up",
        asks_for: |_| Call::ListModules,
    },
    Method {
        name: "loadmodule",
        parameters: MODULE_NAME,
        about: "starts a module, after the modules it depends on",
        asks_for: |given| Call::LoadModule { name: given.text("name") },
    },
    Method {
        name: "reloadmodule",
        parameters: MODULE_NAME,
        about: "stops a module and starts it anew, with the program and configuration of now",
        asks_for: |given| Call::ReloadModule { name: given.text("name") },
    },
    Method {
        name: "runmodulecli",
        parameters: &[
            required("module", ParameterKind::Text, "the module"),
            required("arguments", ParameterKind::Texts, "the command, then its arguments"),
        ],
        about: "runs a command that a module has registered",
        asks_for: |given| Call::RunModuleCli {
            module: given.text("module"),
            arguments: given.texts("arguments"),
        },
    },
    Method { name: "stop", parameters: &[], about: "stops the node in order", asks_for: |_| Call::Stop },
    Method {
        name: "unloadmodule",
        parameters: MODULE_NAME,
        about: "stops a module, and before it those that depend on it",
        asks_for: |given| Call::UnloadModule { name: given.text("name") },
    },
];

impl Call {
    /// What a call of `method` with `params` (JSON, absent where there are none) asks for.
    pub(super) fn read(method: &str, params: Option<&str>) -> Result<Self, ErrorObjectOwned> {
        let Some(known) = METHODS.iter().find(|known| known.name == method) else {
            let params = match params.map(serde_json::from_str) {
                None => Value::Null,
                Some(Ok(params)) => params,
                Some(Err(error)) => return Err(invalid_params(format!("params cannot be read: {error}"))),
            };
            return Ok(Call::Module { method: method.to_owned(), params });
        };
        Ok((known.asks_for)(&mut Given::read(known, params)?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_method_asks_for_something_of_its_own() {
        assert!(METHODS.is_sorted_by_key(|method| method.name));
        for method in METHODS {
            let example = |parameter: &Parameter| match parameter.kind {
                ParameterKind::Text => serde_json::json!("a"),
                ParameterKind::Texts => serde_json::json!(["a", "b"]),
            };
            let params: Vec<_> = method.parameters.iter().map(example).collect();
            let call = Call::read(method.name, Some(&Value::from(params).to_string())).unwrap();
            assert!(!matches!(call, Call::Module { .. }), "{}", method.name);
            assert!(!method.about.is_empty() && method.parameters.iter().all(|each| !each.about.is_empty()));
        }
        let run =
            Call::read("runmodulecli", Some(r#"{"module": "m", "arguments": ["list", "-v"]}"#)).unwrap();
        let arguments = vec!["list".to_owned(), "-v".to_owned()];
        assert_eq!(run, Call::RunModuleCli { module: "m".to_owned(), arguments });
    }

    #[test]
    fn what_is_not_the_nodes_own_is_left_to_modules_with_its_parameters_as_they_are() {
        let call = Call::read("lightning_pay", Some(r#"{"invoice": 7}"#)).unwrap();
        let params = serde_json::json!({"invoice": 7});
        assert_eq!(call, Call::Module { method: "lightning_pay".to_owned(), params });
        assert_eq!(
            Call::read("x", None).unwrap(),
            Call::Module { method: "x".to_owned(), params: Value::Null }
        );
        assert_eq!(Call::read("x", Some("{")).unwrap_err().code(), -32602);
    }
}
