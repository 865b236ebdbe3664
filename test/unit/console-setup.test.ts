import { describe, expect, it } from 'vitest';
import { formatLines, parseLines, parseParameters } from '../../console/connections/flowText.js';
import { DEFAULTS, readSetup, readSetupSearch, writeSetup } from '../../console/setup/setupSearch.js';
import { isUsable, missingPolicy, ownPart } from '../../console/verification/rules.js';

describe('the address of the setup', () => {
  const setup = {
    ...DEFAULTS,
    credentialType: 'accessKeys' as const,
    capabilities: ['runUpload', 'sharing'],
    variant: 'vendor' as const,
    account: '111122223333',
    region: 'us-west-2',
    bucket: 'lab-aviti',
    workflow: '123456789012345678',
    provider: '01920000-0000-7000-8000-000000000000',
  };

  it('keeps what the person entered', () => {
    expect(readSetup(writeSetup(setup))).toEqual(setup);
  });

  it('is empty for a setup that has only defaults', () => {
    expect(writeSetup(DEFAULTS)).toEqual({});
  });

  it('drops unknown parts, unknown capabilities, and anything confidential', () => {
    const search = { capabilities: 'runUpload,everything', secretAccessKey: 'x', externalId: 'y', bucket: 'lab-aviti' };
    expect(readSetupSearch(search)).toEqual({ capabilities: 'runUpload', bucket: 'lab-aviti' });
  });

  it('has at least one capability', () => {
    expect(readSetup({ capabilities: 'nothing' }).capabilities).toEqual(DEFAULTS.capabilities);
  });

  it('reads an account that the address has as a number', () => {
    expect(readSetup({ account: 111122223333 }).account).toBe('111122223333');
  });
});

describe('the texts of a flow', () => {
  it('reads one name from each line, without empty lines', () => {
    expect(parseLines(' AV1 \n\nWGS*\n')).toEqual(['AV1', 'WGS*']);
    expect(formatLines(['AV1', 'WGS*'])).toBe('AV1\nWGS*');
    expect(formatLines(undefined)).toBe('');
  });

  it('reads parameters as a JSON object', () => {
    expect(parseParameters('{"num_threads": 16}')).toEqual({ num_threads: 16 });
    expect(parseParameters(' ')).toEqual({});
  });

  it('says what is wrong with parameters', () => {
    expect(parseParameters('{oops')).toContain('This is not valid JSON');
    expect(parseParameters('[1]')).toContain('must be a JSON object');
    expect(parseParameters('null')).toContain('must be a JSON object');
  });
});

describe('what a report says', () => {
  const put = { Effect: 'Allow', Action: ['s3:PutObject'], Resource: 'arn:aws:s3:::lab-aviti/runs/*' };
  const denied = { result: 'denied', statement: put };
  const report = {
    resourceId: 'p1',
    status: 'VERIFICATION_STATUS_FAILED',
    description: 'runUpload lacks s3:PutObject',
    permissions: [
      { ...denied, of: 'lab-aviti' },
      { result: 'granted', of: 'lab' },
    ],
    parts: [
      { id: 'p1', name: 'lab', status: 'CONNECTED', description: 'All permissions in use are granted' },
      { id: 's1', name: 'lab-aviti', status: 'FAILED', description: 'runUpload lacks s3:PutObject' },
    ],
  };

  it('makes one policy of the missing statements, each once', () => {
    expect(JSON.parse(missingPolicy([denied, denied, { result: 'granted', statement: null }]) ?? '')).toEqual({
      Version: '2012-10-17',
      Statement: [put],
    });
  });

  it('makes no policy where no statement can help', () => {
    expect(missingPolicy([{ result: 'denied', statement: null }])).toBeUndefined();
  });

  it('says of a provider that works that it is usable, although one of its connections fails', () => {
    expect(isUsable(report)).toBe(true);
    expect(ownPart(report).permissions).toEqual([{ result: 'granted', of: 'lab' }]);
  });

  it('says of something that failed, or that nobody verified, that it is not usable', () => {
    expect(isUsable({ ...report, parts: [] })).toBe(false);
    expect(isUsable(null)).toBe(false);
  });
});
