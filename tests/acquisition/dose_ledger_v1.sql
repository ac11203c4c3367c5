-- A dose ledger as version 1 wrote it: two charges, an open series with a ticket, an
-- open ticket, a limit.
PRAGMA application_id = 1668446564;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE bookings (
    id INTEGER PRIMARY KEY,
    event TEXT NOT NULL REFERENCES events (uid),
    ticket TEXT,
    specimen TEXT NOT NULL,
    region TEXT NOT NULL,
    purpose TEXT NOT NULL,
    account TEXT NOT NULL CHECK (account IN ('series', 'ticket', 'settled')),
    milli_e_per_nm2 INTEGER NOT NULL
) STRICT;
INSERT INTO "bookings" VALUES(1,'8c6356ef-adbc-4a6a-9d07-6553f574b429','3f058e7a-b148-42e8-b9a4-a68ef0506529','nw-01','region-1','record','ticket',2574623);
INSERT INTO "bookings" VALUES(2,'17c75c8b-5d9c-4c5e-91d0-02be9fa60899','3f058e7a-b148-42e8-b9a4-a68ef0506529','nw-01','region-1','record','ticket',-2574623);
INSERT INTO "bookings" VALUES(3,'17c75c8b-5d9c-4c5e-91d0-02be9fa60899','3f058e7a-b148-42e8-b9a4-a68ef0506529','nw-01','region-1','record','settled',2317161);
INSERT INTO "bookings" VALUES(4,'a5527d84-1a2d-4bcf-b443-a4c1705ac407','fff54e48-a171-418e-9683-0658db468c27','nw-01','region-2','record','ticket',2574623);
INSERT INTO "bookings" VALUES(5,'36bd9780-2668-4efc-83e1-25c7cfba2d21','fff54e48-a171-418e-9683-0658db468c27','nw-01','region-2','record','ticket',-2574623);
INSERT INTO "bookings" VALUES(6,'36bd9780-2668-4efc-83e1-25c7cfba2d21','fff54e48-a171-418e-9683-0658db468c27','nw-01','region-2','record','settled',2317161);
INSERT INTO "bookings" VALUES(7,'08248366-8d65-4eb9-b24f-e565ed23446a',NULL,'nw-01','region-1','record','series',23171604);
INSERT INTO "bookings" VALUES(8,'d39c64fa-06a4-429a-b1c8-2edde4782e9d',NULL,'nw-01','region-1','record','series',-7723868);
INSERT INTO "bookings" VALUES(9,'d39c64fa-06a4-429a-b1c8-2edde4782e9d','333fad18-40f0-4647-ac15-0ab10fa124cc','nw-01','region-1','record','ticket',7723868);
INSERT INTO "bookings" VALUES(10,'49e74c25-54a5-4abe-a0ef-273f1a3b0d1d','3a69025c-9103-42f7-aa70-9a3fd212cc8b','nw-01','region-1','record','ticket',2574623);
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN (
        'reserve', 'settle', 'release', 'series-open', 'series-close',
        'limit', 'acknowledge', 'reconcile', 'unresolved')),
    time_s REAL NOT NULL,
    specimen TEXT,
    region TEXT,
    series TEXT,
    shape INTEGER,
    ticket TEXT,
    source TEXT,
    boot_id TEXT,
    counter INTEGER,
    over INTEGER NOT NULL DEFAULT 0 CHECK (over IN (0, 1)),
    owner TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
INSERT INTO "events" VALUES(1,'8c6356ef-adbc-4a6a-9d07-6553f574b429','reserve',1.79553076582035183901e+09,'nw-01','region-1',NULL,NULL,'3f058e7a-b148-42e8-b9a4-a68ef0506529','beam','boot-1',0,0,'{"host": "scope", "boot": "b", "pid": 1, "started": "1"}','{"ticket": {"uid": "3f058e7a-b148-42e8-b9a4-a68ef0506529", "exposure": {"specimen": "nw-01", "region": "region-1", "purpose": "record", "width_px": 256, "height_px": 256, "pixel_nm": 2.0, "dwell_s": 1e-05, "n_frames": 1, "flyback_s": 0.0, "flyback_blanked": true, "tilt_deg": 0.0, "center_x_nm": 0.0, "center_y_nm": 0.0}, "current_pa": 150.0, "current_limit_pa": 165.0, "max_time_s": 0.65536, "max_charge_c": 1.0813440000000001e-10, "reserved_e_per_nm2": 2574.623}, "amounts": {"region-1": 2574623}}');
INSERT INTO "events" VALUES(2,'17c75c8b-5d9c-4c5e-91d0-02be9fa60899','settle',1.79553076582110309605e+09,'nw-01','region-1',NULL,NULL,'3f058e7a-b148-42e8-b9a4-a68ef0506529','beam','boot-1',1,0,'{"host": "scope", "boot": "b", "pid": 1, "started": "1"}','{"result": {"ticket_uid": "3f058e7a-b148-42e8-b9a4-a68ef0506529", "outcome": 1, "charge_c": 9.732096000000002e-11, "beam_on_s": 0.65536, "frames": 1, "counter": 1, "boot_id": "boot-1"}}');
INSERT INTO "events" VALUES(3,'a5527d84-1a2d-4bcf-b443-a4c1705ac407','reserve',1.79553076582172417641e+09,'nw-01','region-2',NULL,NULL,'fff54e48-a171-418e-9683-0658db468c27','beam','boot-1',1,0,'{"host": "scope", "boot": "b", "pid": 1, "started": "1"}','{"ticket": {"uid": "fff54e48-a171-418e-9683-0658db468c27", "exposure": {"specimen": "nw-01", "region": "region-2", "purpose": "record", "width_px": 256, "height_px": 256, "pixel_nm": 2.0, "dwell_s": 1e-05, "n_frames": 1, "flyback_s": 0.0, "flyback_blanked": true, "tilt_deg": 0.0, "center_x_nm": 0.0, "center_y_nm": 0.0}, "current_pa": 150.0, "current_limit_pa": 165.0, "max_time_s": 0.65536, "max_charge_c": 1.0813440000000001e-10, "reserved_e_per_nm2": 2574.623}, "amounts": {"region-2": 2574623}}');
INSERT INTO "events" VALUES(4,'36bd9780-2668-4efc-83e1-25c7cfba2d21','settle',1.79553076582222628592e+09,'nw-01','region-2',NULL,NULL,'fff54e48-a171-418e-9683-0658db468c27','beam','boot-1',2,0,'{"host": "scope", "boot": "b", "pid": 1, "started": "1"}','{"result": {"ticket_uid": "fff54e48-a171-418e-9683-0658db468c27", "outcome": 1, "charge_c": 9.732096000000002e-11, "beam_on_s": 0.65536, "frames": 1, "counter": 2, "boot_id": "boot-1"}}');
INSERT INTO "events" VALUES(5,'08248366-8d65-4eb9-b24f-e565ed23446a','series-open',1.79553076582275295252e+09,'nw-01',NULL,'ed0167e5-826d-45d2-9d74-2517501ae8d1',NULL,NULL,NULL,NULL,NULL,0,'{"host": "scope", "boot": "b", "pid": 1, "started": "1"}','{"current_limit_pa": 165, "declared": [{"exposure": {"specimen": "nw-01", "region": "region-1", "purpose": "record", "width_px": 256, "height_px": 256, "pixel_nm": 2.0, "dwell_s": 1e-05, "n_frames": 3, "flyback_s": 0.0, "flyback_blanked": true, "tilt_deg": 0.0, "center_x_nm": 0.0, "center_y_nm": 0.0}, "count": 3, "amounts": {"region-1": 7723868}}]}');
INSERT INTO "events" VALUES(6,'d39c64fa-06a4-429a-b1c8-2edde4782e9d','reserve',1.79553076582452821735e+09,'nw-01','region-1','ed0167e5-826d-45d2-9d74-2517501ae8d1',0,'333fad18-40f0-4647-ac15-0ab10fa124cc','beam','boot-1',2,0,'{"host": "scope", "boot": "b", "pid": 1, "started": "1"}','{"ticket": {"uid": "333fad18-40f0-4647-ac15-0ab10fa124cc", "exposure": {"specimen": "nw-01", "region": "region-1", "purpose": "record", "width_px": 256, "height_px": 256, "pixel_nm": 2.0, "dwell_s": 1e-05, "n_frames": 3, "flyback_s": 0.0, "flyback_blanked": true, "tilt_deg": 5.0, "center_x_nm": 0.0, "center_y_nm": 0.0}, "current_pa": 150.0, "current_limit_pa": 165.0, "max_time_s": 1.9660800000000003, "max_charge_c": 3.244032e-10, "reserved_e_per_nm2": 7723.868}, "amounts": {"region-1": 7723868}}');
INSERT INTO "events" VALUES(7,'49e74c25-54a5-4abe-a0ef-273f1a3b0d1d','reserve',1.79553076582512640951e+09,'nw-01','region-1',NULL,NULL,'3a69025c-9103-42f7-aa70-9a3fd212cc8b','beam','boot-1',2,0,'{"host": "scope", "boot": "b", "pid": 1, "started": "1"}','{"ticket": {"uid": "3a69025c-9103-42f7-aa70-9a3fd212cc8b", "exposure": {"specimen": "nw-01", "region": "region-1", "purpose": "record", "width_px": 256, "height_px": 256, "pixel_nm": 2.0, "dwell_s": 1e-05, "n_frames": 1, "flyback_s": 0.0, "flyback_blanked": true, "tilt_deg": 0.0, "center_x_nm": 0.0, "center_y_nm": 0.0}, "current_pa": 150.0, "current_limit_pa": 165.0, "max_time_s": 0.65536, "max_charge_c": 1.0813440000000001e-10, "reserved_e_per_nm2": 2574.623}, "amounts": {"region-1": 2574623}}');
INSERT INTO "events" VALUES(8,'cf125ae2-f682-45b4-9b9d-8f4d593a6187','limit',1.79553076582558321957e+09,'nw-01','region-1',NULL,NULL,NULL,NULL,NULL,NULL,0,'{"host": "scope", "boot": "b", "pid": 1, "started": "1"}','{"limit_e_per_nm2": 5000000.0, "reason": "fluorine leaves"}');
CREATE INDEX events_of_ticket ON events (ticket, kind);
CREATE INDEX events_of_series ON events (series, kind, shape);
CREATE INDEX events_of_region ON events (specimen, region, kind);
CREATE INDEX events_of_boot ON events (source, boot_id, counter);
CREATE INDEX events_over ON events (specimen) WHERE over = 1;
CREATE INDEX events_reconciled ON events (source) WHERE kind = 'reconcile';
CREATE INDEX bookings_of_region
    ON bookings (specimen, region, account, milli_e_per_nm2);
CREATE INDEX bookings_of_event ON bookings (event);
CREATE INDEX bookings_of_ticket
    ON bookings (ticket, account, region, milli_e_per_nm2);
CREATE TRIGGER events_stay BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'a row of the ledger is never changed'); END;
CREATE TRIGGER events_last BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'a row of the ledger is never deleted'); END;
CREATE TRIGGER bookings_stay BEFORE UPDATE ON bookings
    BEGIN SELECT RAISE(ABORT, 'a row of the ledger is never changed'); END;
CREATE TRIGGER bookings_last BEFORE DELETE ON bookings
    BEGIN SELECT RAISE(ABORT, 'a row of the ledger is never deleted'); END;
COMMIT;
