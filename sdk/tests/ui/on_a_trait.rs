use blvm_sdk::prelude::*;

struct Watch;

#[module]
impl Drop for Watch {
    fn drop(&mut self) {}
}

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
