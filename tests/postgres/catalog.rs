use super::super::support::pg;
