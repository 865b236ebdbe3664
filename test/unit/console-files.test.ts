import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { differencesOf } from '../../console/access/difference.js';
import { indentJson } from '../../console/files/json.js';
import { hostsNeeded } from '../../console/files/report.js';
import { commandForPowerShell, commandForShell, quoteForPowerShell, quoteForShell } from '../../console/files/shell.js';
import { readCsv } from '../../console/files/tables.js';
import { readChoice, SCOPE_PRESETS, SCOPE_RESOURCES, writeChoice } from '../../console/keys/scopes.js';
import { EVENT_GROUPS } from '../../console/webhooks/events.js';
import { ACTIONS_BY_RESOURCE, parseScopes, writeScope } from '../../domain/auth/scopes.js';
import { WEBHOOK_EVENTS } from '../../domain/webhooks/webhook.js';

describe('commands that copy files', () => {
  const credentials = { region: 'us-west-2', accessKeyId: 'ASIA1', secretAccessKey: `s'e"c$r`, sessionToken: 't/=' };
  it.each(['plain', `it's`, '$(touch x)', '`id`', '\\', 'a\nb', '!x "y"'])('reach a shell as they are: %j', (text) => {
    expect(execFileSync('sh', ['-c', `printf %s ${quoteForShell(text)}`], { encoding: 'utf8' })).toBe(text);
  });
  it('double each kind of apostrophe for PowerShell', () => {
    expect(quoteForPowerShell(`a'b’c`)).toBe(`'a''b’’c'`);
  });
  it('copy a folder into one of its name, and set the credentials for this command only', () => {
    const command = commandForShell({ from: 's3://lab/runs/a b/', isFolder: true, credentials });
    const shown = execFileSync('sh', ['-c', `aws() { echo "$AWS_SECRET_ACCESS_KEY|$*"; }\n${command}`], {
      encoding: 'utf8',
    });
    expect(shown).toBe(`s'e"c$r|s3 cp s3://lab/runs/a b/ ./a b/ --recursive\n`);
  });
  it('copy a file into the current folder', () => {
    expect(commandForShell({ from: 's3://lab/a.csv', isFolder: false, credentials })).toMatch(
      /\naws s3 cp 's3:\/\/lab\/a\.csv' '\.'$/,
    );
    expect(commandForPowerShell({ from: 's3://lab/a.csv', isFolder: false, credentials })).toContain(
      `$Env:AWS_SECRET_ACCESS_KEY = 's''e"c$r'\n`,
    );
  });
});

describe('previews', () => {
  it('read comma-separated values with quotes, any line ends and rows of any length', () => {
    expect(readCsv('\uFEFFa,"b,""c"""\r\n\r\n1,\n"two\nlines"', 10)).toEqual({
      rows: [['a', 'b,"c"'], ['1', ''], ['two\nlines']],
      hasMore: false,
    });
    expect(readCsv('a,', 10).rows).toEqual([['a', '']]);
  });
  it('say that a table has more rows', () => {
    expect(readCsv('1\n2\n3\n', 2)).toEqual({ rows: [['1'], ['2']], hasMore: true });
    expect(readCsv('1\n2\n', 2).hasMore).toBe(false);
  });
  it('indent JSON without changing large numbers or texts', () => {
    const text = String.raw`{"a":1768435200123456789,"b":[1.50,"{x:\"y\",[]}"],"c":{},"d":[],"e":null}`;
    expect(indentJson(text)).toBe(String.raw`{
  "a": 1768435200123456789,
  "b": [
    1.50,
    "{x:\"y\",[]}"
  ],
  "c": {},
  "d": [],
  "e": null
}`);
    expect(indentJson('{"a":')).toBeUndefined();
  });
});

describe('what differs in a bucket policy', () => {
  const own = { Sid: 'S', Effect: 'Allow', Action: ['s3:GetObject', 's3:ListBucket'], Principal: { AWS: 'arn' } };
  it('is nothing where only the order or the spelling of lists differs', () => {
    const found = { Principal: { AWS: ['arn'] }, Action: ['s3:ListBucket', 's3:GetObject'], Effect: 'Allow', Sid: 'S' };
    expect(differencesOf([own], [found])).toEqual([]);
  });
  it('names members that are changed, added or gone, and statements that are gone', () => {
    const found = { Sid: 'S', Effect: 'Deny', Action: own.Action, Condition: { Bool: { x: 'true' } } };
    expect(differencesOf([own], [found]).map(({ member }) => member)).toEqual(['Effect', 'Principal', 'Condition']);
    expect(differencesOf([own], [])).toEqual([
      { sid: 'S', member: 'the whole statement', expected: own, found: undefined },
    ]);
  });
});

describe('the choices of the console', () => {
  it('offer all scopes of the API and no others', () => {
    expect(
      Object.fromEntries(SCOPE_RESOURCES.map(({ resource, actions }) => [resource, actions.map((a) => a.action)])),
    ).toEqual(ACTIONS_BY_RESOURCE);
  });
  it.each(SCOPE_PRESETS)('collect valid scopes for: $text', ({ scopes }) => {
    expect(parseScopes('scopes', scopes).map(writeScope)).toEqual(scopes);
    expect(scopes.filter((scope) => scope !== '*').map((scope) => writeChoice(readChoice(scope)!))).toEqual(
      scopes.filter((scope) => scope !== '*'),
    );
  });
  it.each(
    SCOPE_RESOURCES.flatMap(({ resource, actions }) =>
      [...actions.map(({ action }) => action), '*'].map((action) => ({ resource, action })),
    ),
  )('write $resource:$action with an id and a folder only where the API takes them', ({ resource, action }) => {
    const scope = writeChoice({ resource, action, id: 'abc', prefix: '/panels/' });
    expect(parseScopes('scopes', [scope]).map(writeScope)).toEqual([scope]);
  });
  it('offer all events and no others', () => {
    expect(EVENT_GROUPS.flatMap(({ events }) => events).sort()).toEqual([...WEBHOOK_EVENTS].sort());
  });
});

describe('reports', () => {
  it('name the hosts from which they load scripts and styles, and not those that they link to', () => {
    const html = `<link rel="stylesheet" href='//styles.example/a.css'><a href="https://links.example/">x</a>
      <SCRIPT defer src="https://cdn.example/plot.js"></SCRIPT><script src=https://cdn.example/other.js></script>
      <img src="data:image/png;base64,AAAA"><script src="local.js"></script><img src="http://[bad/">`;
    expect(hostsNeeded(html)).toEqual(['cdn.example', 'styles.example']);
    expect(hostsNeeded('<html><script>var a = "//x.example"</script></html>')).toEqual([]);
  });
});
