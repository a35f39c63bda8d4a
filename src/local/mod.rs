//! Private Redis and PostgreSQL as child processes, for `onsale dev`, tests and benches alike.
//!
//! A [`DataFolder`] belongs to one process at a time; in it run one [`LocalRedis`] and one
//! [`LocalPostgres`], reachable through unix sockets only. [`LocalStores`] is both (and
//! [`ClusteredStores`] with a cluster, whose nodes listen on 127.0.0.1); [`shared`] is the pair that
//! all tests of a process use. [`LocalReplicated`] is a Redis with a replica, under Sentinels or
//! alone, and [`LocalCluster`] is three with a replica each.
//!
//! # What holds
//!
//! * The children end with this process: dropped in order, told by the system (Linux), or found by
//!   the next start through their pid files.
//! * Nothing is deleted in a folder that was not made here.
//! * A server that does not come up is an error that shows the end of its log.
//!
//! # What is not here
//!
//! No schema, no clients, no settings of the application: whoever starts the stores gets two URLs.

mod account;
mod ask;
mod child;
mod cluster;
mod folder;
mod leftover;
mod ports;
mod postgres;
mod programs;
mod redis;
mod replicated;
mod server;
mod stores;
mod throwaway;

pub use cluster::{ClusterOptions, LocalCluster, SlotMove};
pub use folder::{DataFolder, default_data_dir};
pub use postgres::{LocalPostgres, PostgresOptions};
pub use redis::{LocalRedis, RedisKind, RedisOptions, TlsFiles};
pub use replicated::{LocalReplicated, ReplicatedOptions};
pub use stores::{ClusteredStores, Durability, LocalStores, StoresOptions, shared};

#[cfg(test)]
mod tests;
