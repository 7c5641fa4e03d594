use blvm_sdk::prelude::*;

struct Watch;

#[module]
impl Watch {
    fn new(_: Start) -> Result<Self, Error> {
        Ok(Watch)
    }

    #[rpc]
    fn level(&self, name: &str) -> u32 {
        name.len() as u32
    }

    #[command(name = "Say It")]
    fn say(&self) {}
}

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
