// Asks the schema engine of Prisma, as `prisma migrate deploy` does: what it thinks of the history, and what it applies.
// Usage: DATABASE_URL=... node prisma.mjs FOLDER, beside node_modules.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { PrismaPg } from '@prisma/adapter-pg';
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils';
import * as engines from '@prisma/schema-engine-wasm/schema_engine_bg';

// Node runs no WebAssembly that is merely imported.
const script = fileURLToPath(import.meta.resolve('@prisma/schema-engine-wasm/schema_engine_bg'));
const { instance } = await WebAssembly.instantiate(readFileSync(script.replace(/js$/, 'wasm')), { './schema_engine_bg.js': engines });
engines.__wbg_set_wasm(instance.exports);
instance.exports.__wbindgen_start();

const folder = process.argv[2];
const text = (path) => readFileSync(`${folder}/${path}`, 'utf8');
const migration = (path) => ({ path, migrationFile: { path: 'migration.sql', content: { tag: 'ok', value: text(`${path}/migration.sql`) } } });
const folders = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((entry) => entry.name).sort();
const lock = existsSync(`${folder}/migration_lock.toml`) ? text('migration_lock.toml') : null;
const migrationsList = {
  baseDir: folder,
  lockfile: { path: 'migration_lock.toml', content: lock },
  shadowDbInitScript: '',
  migrationDirectories: folders.map(migration),
};
// The driver ends a statement at every semicolon, in a function's body too. Prisma's own engine hands a script over whole, and so does this.
class Whole extends PrismaPg {
  async connect() {
    const adapter = await super.connect();
    adapter.executeScript = (script) => adapter.client.query(script).then(() => {}, (error) => adapter.onError(error));
    return adapter;
  }
}
const filters = { externalTables: [], externalEnums: [] };
const datamodels = [['schema.prisma', 'datasource db {\n  provider = "postgresql"\n}\n']];
const adapter = bindMigrationAwareSqlAdapterFactory(new Whole({ connectionString: process.env.DATABASE_URL }));
const engine = await engines.SchemaEngine.new({ datamodels }, () => {}, adapter);
const found = await engine.diagnoseMigrationHistory({ migrationsList, optInToShadowDatabase: false, filters });
const { appliedMigrationNames: applied } = await engine.applyMigrations({ migrationsList, filters });
const { editedMigrationNames: edited, failedMigrationNames: failed, hasMigrationsTable: table, history } = found;
console.log(JSON.stringify({ edited, failed, table, history, applied }));
process.exit(0);
