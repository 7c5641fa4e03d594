//! Numbered steps from one form of the database to the next, and back where they say how.

use super::Storage;
use super::error::{OpenError, StorageError};
use super::tables::{Reader, STATE, Writer};

/// Why a migration failed: anything its author says.
pub type MigrationError = Box<dyn std::error::Error + Send + Sync>;

/// What a migration does, in one transaction together with its number.
type Step = fn(&Writer) -> Result<(), MigrationError>;

const VERSION: &str = "version";

/// One numbered change of the database.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    number: u32,
    up: Step,
    down: Option<Step>,
}

impl Migration {
    /// Migration `number`, from 1; what is done once has this number for ever.
    pub const fn new(number: u32, up: Step) -> Self {
        Migration { number, up, down: None }
    }

    /// With a way back.
    pub const fn with_down(self, down: Step) -> Self {
        Migration { down: Some(down), ..self }
    }
}

/// All migrations that a program knows, and the version it works with.
#[derive(Debug, Clone, Copy)]
pub struct Migrations<'a> {
    known: &'a [Migration],
    target: u32,
}

impl<'a> Migrations<'a> {
    /// Migrations 1, 2, 3 and so on; the program works with the last.
    pub const fn new(known: &'a [Migration]) -> Self {
        // Nobody writes four billion of them.
        Migrations { known, target: known.len() as u32 }
    }

    /// The program works with version `target`, though it knows later ones: a database of these goes down to it.
    ///
    /// So an older program is released again after a newer one: with the newer one's migrations, and its own version.
    pub const fn at(self, target: u32) -> Self {
        Migrations { target, ..self }
    }

    fn numbered(&self) -> Result<u32, OpenError> {
        for (expected, migration) in (1..).zip(self.known) {
            if migration.number != expected {
                return Err(OpenError::Numbering { expected, found: migration.number });
            }
        }
        let known = self.known.len() as u32;
        if self.target > known {
            return Err(OpenError::Numbering { expected: known, found: self.target });
        }
        Ok(known)
    }
}

/// Brings the database to the version aimed at, one transaction for each migration.
pub(super) fn migrate(storage: &Storage, migrations: &Migrations<'_>) -> Result<(), OpenError> {
    let known = migrations.numbered()?;
    let found = storage.write(|writer| {
        // Makes the table.
        let state = writer.own_table(STATE)?;
        Ok::<_, StorageError>(state.get(VERSION)?.map_or(0, |version| version.value()))
    })?;
    let found = u32::try_from(found).unwrap_or(u32::MAX);
    if found > known {
        return Err(OpenError::TooNew { found, known });
    }
    let steps = &migrations.known[..found as usize];
    for migration in steps.iter().skip(migrations.target as usize).rev() {
        if migration.down.is_none() {
            // Before the first step: a database half way back is of no use to anybody.
            return Err(OpenError::NoWayDown { found, number: migration.number });
        }
    }
    for migration in steps.iter().skip(migrations.target as usize).rev() {
        if let Some(down) = migration.down {
            step(storage, migration.number, down, migration.number - 1)?;
        }
    }
    for migration in migrations.known[..migrations.target as usize].iter().skip(found as usize) {
        step(storage, migration.number, migration.up, migration.number)?;
    }
    Ok(())
}

fn step(storage: &Storage, number: u32, work: Step, version: u32) -> Result<(), OpenError> {
    let done: Result<(), MigrationError> = storage.write(|writer| {
        work(writer)?;
        writer.own_table(STATE)?.insert(VERSION, u64::from(version))?;
        Ok(())
    });
    done.map_err(|source| OpenError::Migration { number, source })
}

pub(super) fn version(reader: &Reader) -> Result<u32, StorageError> {
    let version = reader.own(STATE, VERSION)?.unwrap_or(0);
    Ok(u32::try_from(version).unwrap_or(u32::MAX))
}
