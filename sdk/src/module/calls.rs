//! Calls of the node: the module's methods and commands.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use blvm_bus::request::{Call, CallReply, CliCommand, CliSpec, CommandOutput, ModuleError};

use super::arguments::Arguments;
use super::handlers::{Command, Handlers, Method};
use super::params::Params;
use super::serve::{RunError, Shared};
use super::{Module, Requests};
use crate::calls::ReceivedCall;

/// What a module can be called for.
pub(super) struct Table<M> {
    methods: Vec<Method<M>>,
    commands: Vec<Command<M>>,
}

impl<M: Module> Table<M> {
    pub(super) fn new(handlers: &mut Handlers<M>) -> Self {
        let methods = std::mem::take(&mut handlers.methods);
        Table { methods, commands: std::mem::take(&mut handlers.commands) }
    }

    /// Tells the node of them.
    pub(super) fn register<N: Module>(&self, requests: &Requests) -> Result<(), RunError> {
        for method in &self.methods {
            let registered = requests.client().register_rpc_endpoint(method.name, method.about);
            registered.map_err(|source| RunError::Register {
                what: format!("the method {}", method.name),
                source,
            })?;
        }
        if !self.commands.is_empty() {
            let commands = self.commands.iter().map(|command| CliCommand {
                name: command.name.to_owned(),
                about: command.about.to_owned(),
                arguments: command.arguments.clone(),
            });
            let spec = CliSpec {
                name: N::NAME.to_owned(),
                about: format!("commands of the module {}", N::NAME),
                arguments: Vec::new(),
                commands: commands.collect(),
            };
            let registered = requests.client().register_cli_spec(spec);
            registered
                .map_err(|source| RunError::Register { what: format!("the command {}", N::NAME), source })?;
        }
        Ok(())
    }

    fn reply(&self, module: &M, call: &Call) -> Result<CallReply, ModuleError> {
        match call {
            Call::Rpc { method: name, params } => {
                let method = self.methods.iter().find(|method| method.name == name);
                let method = method.ok_or_else(|| unknown(name))?;
                let mut params = Params::parse(params, method.parameters)?;
                (method.run)(module, &mut params).map(CallReply::Rpc)
            }
            Call::Command { arguments, .. } => self.command(module, arguments).map(CallReply::Command),
            other => Err(unknown(other.name())),
        }
    }

    fn command(&self, module: &M, words: &[String]) -> Result<CommandOutput, ModuleError> {
        let wrong_use = |message: String| {
            Ok(CommandOutput { output: String::new(), error: format!("{message}\n"), status: 2 })
        };
        let names = || self.commands.iter().map(|command| command.name).collect::<Vec<_>>().join(", ");
        let Some((name, words)) = words.split_first() else {
            return wrong_use(format!("a command is missing; there are: {}", names()));
        };
        let Some(command) = self.commands.iter().find(|command| command.name == name) else {
            return wrong_use(format!("there is no command \"{name}\"; there are: {}", names()));
        };
        match Arguments::parse(words, &command.arguments) {
            Ok(mut arguments) => match (command.run)(module, &mut arguments) {
                Err(ModuleError::WrongParameters { message }) => wrong_use(message),
                Err(ModuleError::Failed { message, .. }) => {
                    Ok(CommandOutput { output: String::new(), error: format!("{message}\n"), status: 1 })
                }
                done => done,
            },
            Err(message) => wrong_use(message),
        }
    }
}

fn unknown(name: &str) -> ModuleError {
    ModuleError::UnknownMethod { name: name.to_owned() }
}

/// Has a call answered on a thread of its own kind.
pub(super) fn take<M: Module>(table: &Arc<Table<M>>, shared: &Arc<Shared<M>>, call: ReceivedCall) {
    let (table, for_job) = (Arc::clone(table), Arc::clone(shared));
    // Refused when the module ends: dropped, and so answered.
    let _ = shared.calls.try_run(Box::new(move || {
        let asked = call.call();
        let reply = catch_unwind(AssertUnwindSafe(|| table.reply(&for_job.module, asked)));
        let reply = reply.unwrap_or_else(|panic| {
            let message = for_job.troubles.panicked(table.name_of(asked), &*panic);
            Err(ModuleError::Panicked { message })
        });
        // The node may have gone: then nobody waits.
        let _ = call.answer(reply);
    }));
}

impl<M: Module> Table<M> {
    /// What a call is for, as it stands in the module.
    fn name_of(&self, call: &Call) -> &'static str {
        let name = match call {
            Call::Rpc { method: name, .. } => {
                self.methods.iter().map(|method| method.name).find(|of| of == name)
            }
            Call::Command { arguments, .. } => {
                let name = arguments.first();
                self.commands
                    .iter()
                    .map(|command| command.name)
                    .find(|of| Some(*of) == name.map(String::as_str))
            }
            _ => None,
        };
        name.unwrap_or("call")
    }
}
