use blvm_sdk::prelude::*;

struct Watch {
    seconds: u64,
}

#[module]
impl Watch {
    fn new(_: Start) -> Result<Self, Error> {
        Ok(Watch { seconds: 1 })
    }

    fn seconds(&self) -> u64 {
        self.seconds
    }

    fn of_nobody() -> std::time::Duration {
        std::time::Duration::ZERO
    }

    #[every(Self::seconds)]
    fn first(&self) {}

    #[every(Self::missing)]
    fn second(&self) {}

    #[every(Self::of_nobody)]
    fn third(&self) {}

    #[every(10 s)]
    fn fourth(&self) {}
}

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
