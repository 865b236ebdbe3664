import { describe, expect, it } from 'vitest';
import { toActivityFailure } from '../../activities/failures.js';
import { SessionError } from '../../aws/sessions.js';
import type { Blocked } from '../../domain/executions/execution.js';
import { parseDenial } from '../../domain/iam/denials.js';
import { reportPermission } from '../../domain/verification/report.js';

const START =
  'User: arn:aws:sts::111122223333:assumed-role/lab/polony is not authorized to perform: omics:StartRun on resource: ';
const RUNS = 'arn:aws:omics:us-west-2:111122223333:run/*';
const KEY = 'arn:aws:kms:us-west-2:111122223333:key/1234';

function blockedBy(message: string, call = { action: 'omics:StartRun', resource: RUNS }): Blocked {
  const error = Object.assign(new Error(message), { name: 'AccessDeniedException' });
  return toActivityFailure(error, call).details![0] as Blocked;
}

describe('a denial by AWS', () => {
  it.each([
    ['with an explicit deny in an identity-based policy', 'identity-based policies'],
    ['with an explicit deny in a resource-based policy', 'the policy of the resource'],
    ['with an explicit deny in a service control policy', 'organization'],
    ['with an explicit deny in a resource control policy', 'organization'],
    ['with an explicit deny in a permissions boundary', 'permissions boundary'],
    ['with an explicit deny in a session policy', 'session policy'],
    ['with an explicit deny in a VPC endpoint policy', 'VPC endpoint'],
    ['with an explicit deny', 'service control policy'],
    [
      'with an explicit deny in a service control policy: arn:aws:organizations::999988887777:policy/o-1/service_control_policy/p-1',
      'policy/o-1/service_control_policy/p-1',
    ],
  ])('asks to remove the Deny %s and offers no Allow', (reason, place) => {
    const { remedy, statement, kind } = blockedBy(`${START}${RUNS} ${reason}`);
    expect(kind).toBe('ACCESS_DENIED');
    expect(remedy).toMatch(/^Remove the Deny that matches omics:StartRun on /);
    expect(remedy).toContain(place);
    expect(remedy).toContain('An Allow in another policy cannot override a Deny');
    expect(statement).toBeUndefined();
  });

  it.each([
    ['because no permissions boundary allows the omics:StartRun action', 'in the permissions boundary of'],
    ['because no session policy allows the omics:StartRun action', 'in the session policy of'],
    ['because no service control policy allows the omics:StartRun action', 'in the service control policies'],
    ['because no resource control policy allows the omics:StartRun action', 'in the resource control policies'],
    ['because no VPC endpoint policy allows the omics:StartRun action', 'in the policy of the VPC endpoint'],
    ['because no resource-based policy allows the omics:StartRun action', 'in the policy of the resource'],
  ])('names the policy to extend %s and offers no Allow for the role', (reason, place) => {
    const { remedy, statement } = blockedBy(`${START}${RUNS} ${reason}`);
    expect(remedy).toContain(`Allow omics:StartRun on ${RUNS} ${place}`);
    expect(statement).toBeUndefined();
  });

  it('offers an Allow where no identity-based policy has one', () => {
    const { remedy, statement } = blockedBy(
      `${START}${RUNS} because no identity-based policy allows the omics:StartRun action`,
    );
    expect(remedy).toBe(
      `Allow omics:StartRun on ${RUNS} in the policy of the provider's role or user; ` +
        'polony then continues automatically.',
    );
    expect(statement).toEqual({ Effect: 'Allow', Action: ['omics:StartRun'], Resource: RUNS });
  });

  it('offers an Allow and mentions a Deny where AWS gives no reason', () => {
    const { remedy, statement } = blockedBy('Access Denied', {
      action: 's3:GetObject',
      resource: 'arn:aws:s3:::lab/*',
    });
    expect(remedy).toContain('look for a policy that denies it');
    expect(statement).toEqual({ Effect: 'Allow', Action: ['s3:GetObject'], Resource: 'arn:aws:s3:::lab/*' });
  });

  it.each([
    [
      `is not authorized to perform: kms:Decrypt on resource: ${KEY} with an explicit deny in a resource-based policy`,
      'key policy',
    ],
    [
      `is not authorized to perform: kms:Decrypt on resource: ${KEY} because no resource-based policy allows the kms:Decrypt action`,
      'key policy',
    ],
    [
      'is not authorized to perform: kms:GenerateDataKey on this resource because the resource does not exist in this ' +
        'Region, no resource-based policies allow access, or a resource-based policy explicitly denies access',
      'key policy',
    ],
  ])('sends people to the key policy for %s', (message, place) => {
    const { remedy, statement, action } = blockedBy(`User: arn:aws:iam::1:user/x ${message}`, {
      action: 's3:GetObject',
      resource: 'arn:aws:s3:::lab/runs/*',
    });
    expect(action).toMatch(/^kms:/);
    expect(remedy).toContain(place);
    expect(remedy).not.toContain('arn:aws:s3:::lab');
    expect(statement).toBeUndefined();
  });

  it('offers an Allow on the KMS key where no identity-based policy has one', () => {
    const { statement } = blockedBy(
      `User: x is not authorized to perform: kms:Decrypt on resource: ${KEY} because no identity-based policy allows the kms:Decrypt action`,
      { action: 's3:GetObject', resource: 'arn:aws:s3:::lab/runs/*' },
    );
    expect(statement).toEqual({ Effect: 'Allow', Action: ['kms:Decrypt'], Resource: KEY });
  });

  it.each([
    ['InvalidClientTokenId', 'The security token included in the request is invalid', 'credentials'],
    ['UnrecognizedClientException', 'The security token included in the request is invalid', 'enabled the region'],
    ['SignatureDoesNotMatch', 'The request signature we calculated does not match', 'secret access key'],
    ['SignatureDoesNotMatch', 'Signature expired: 20260101T000000Z is now earlier than 20260101T001500Z', 'clock'],
    ['RequestTimeTooSkewed', 'The difference between the request time and the current time is too large.', 'clock'],
    ['AllAccessDisabled', 'All access to this object has been disabled', 'AWS Support'],
    ['RegionDisabledException', 'STS is not activated in this region for account:111122223333.', 'Activate STS'],
    ['InvalidObjectState', "The operation is not valid for the object's storage class", 'Restore it'],
    ['MethodNotAllowed', 'The specified method is not allowed against this resource.', 'owns the bucket'],
    ['KMS.DisabledException', `${KEY} is disabled.`, 'Enable the KMS key'],
    ['KMS.NotFoundException', `Key '${KEY}' does not exist`, 'Select an existing KMS key'],
    ['KMS.KMSInvalidStateException', `${KEY} is pending deletion.`, 'cancel that'],
    [
      'AccessDenied',
      'User: x is not authorized to perform: s3:PutBucketPolicy on resource: "arn:aws:s3:::lab" because public policies ' +
        'are prevented by the BlockPublicPolicy setting in S3 Block Public Access.',
      'S3 Block Public Access',
    ],
    [
      'AccessDenied',
      'User: x is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::lab/x" because public access is ' +
        'prevented by the RestrictPublicBuckets setting in S3 Block Public Access.',
      'S3 Block Public Access',
    ],
    ['PermanentRedirect', 'The bucket must be addressed using the specified endpoint.', 'another region'],
    ['AuthorizationHeaderMalformed', "the region 'us-east-1' is wrong; expecting 'eu-west-1'", 'another region'],
    ['AccessDeniedException', 'Unable to assume role: arn:aws:iam::1:role/x', 'omics.amazonaws.com'],
  ])('by %s (%s) has a remedy without an Allow, because no policy is the reason', (name, message, remedy) => {
    const $metadata = { httpStatusCode: name.startsWith('KMS.') ? 400 : 403 };
    const error = Object.assign(new Error(message), { name, $metadata });
    const blocked = toActivityFailure(error, { action: 's3:GetObject', resource: 'arn:aws:s3:::lab/*' })
      .details![0] as Blocked;
    expect(blocked.remedy).toContain(remedy);
    expect(blocked.remedy).not.toContain('Allow');
    expect(blocked.statement).toBeUndefined();
  });

  it('offers the statement of the bucket where reading an object needs s3:ListBucket and AWS names no resource', () => {
    const error = Object.assign(
      new Error(
        'User: x is not authorized to perform: s3:ListBucket because no identity-based policy allows the s3:ListBucket action',
      ),
      { name: 'AccessDenied' },
    );
    const blocked = toActivityFailure(error, {
      action: 's3:GetObject',
      resource: 'arn:aws:s3:::lab/runs/*',
      scope: { bucket: 'lab', prefix: 'runs', region: 'us-west-2' },
    }).details![0] as Blocked;
    expect(blocked).toMatchObject({
      action: 's3:ListBucket',
      resource: 'arn:aws:s3:::lab',
      statement: { Effect: 'Allow', Action: ['s3:ListBucket'], Resource: 'arn:aws:s3:::lab' },
    });
    expect(blocked.remedy).toContain('Allow s3:ListBucket on arn:aws:s3:::lab in the policy');
  });

  it('offers no Allow for a policy of a kind that polony does not know', () => {
    for (const kind of ['resource policy', 'access point policy', 'declarative policy']) {
      const { remedy, statement } = blockedBy(`${START}${RUNS} because no ${kind} allows the omics:StartRun action`);
      expect(remedy).toContain('does not replace it');
      expect(statement).toBeUndefined();
    }
  });

  it('sends people to the key policy for the older message about a ciphertext', () => {
    const { action, remedy, statement } = blockedBy(
      'The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not ' +
        'allowed to access.',
    );
    expect(action).toBe('kms:Decrypt');
    expect(remedy).toContain('key policy');
    expect(statement).toBeUndefined();
  });

  it('mentions how to decode an encoded reason', () => {
    const { remedy } = blockedBy(
      'You are not authorized to perform this operation. Encoded authorization failure message: AbC',
    );
    expect(remedy).toContain('decode-authorization-message');
  });

  it('reads a resource with spaces', () => {
    const key = 'arn:aws:s3:::lab/runs/My run (1)/x, y.zip';
    expect(
      parseDenial(
        `not authorized to perform: s3:PutObject on resource: "${key}" because no identity-based policy allows the s3:PutObject action`,
      ),
    ).toEqual({ action: 's3:PutObject', resource: key, deny: 'implicit', policy: 'identity' });
  });

  it('reads the permission, the partition and the quotes of the message', () => {
    expect(
      parseDenial(
        'is not authorized to perform: s3:ListBucket on resource: "arn:aws-us-gov:s3:::lab" with an explicit deny in an identity-based policy',
      ),
    ).toEqual({ action: 's3:ListBucket', resource: 'arn:aws-us-gov:s3:::lab', deny: 'explicit', policy: 'identity' });
    expect(parseDenial('Access Denied')).toEqual({});
  });
});

describe('a session that AWS refuses', () => {
  const refuse = (action: 'sts:AssumeRole' | 'sts:GetFederationToken', name: string, message: string): Blocked =>
    toActivityFailure(new SessionError(action, 'principal', Object.assign(new Error(message), { name })), {
      action,
      resource: 'principal',
    }).details![0] as Blocked;

  it('asks for the trust policy where AWS gives no reason', () => {
    expect(refuse('sts:AssumeRole', 'AccessDenied', 'not authorized to perform: sts:AssumeRole').remedy).toContain(
      'external ID',
    );
  });

  it.each(['sts:TagSession', 'sts:SetSourceIdentity'])('names %s, which the trust policy lacks', (action) => {
    const { remedy } = refuse(
      'sts:AssumeRole',
      'AccessDenied',
      `User: x is not authorized to perform: ${action} on resource: arn:aws:iam::1:role/lab`,
    );
    expect(remedy).toContain(`Allow ${action} on arn:aws:iam::1:role/lab in the trust policy of the role`);
  });

  it('names the region where STS is not active', () => {
    const message = 'STS is not activated in this region for account:111122223333.';
    expect(refuse('sts:AssumeRole', 'RegionDisabledException', message).remedy).toContain('Activate STS');
  });

  it('names the Deny in the way', () => {
    const { remedy } = refuse(
      'sts:AssumeRole',
      'AccessDenied',
      'User: x is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::1:role/lab with an explicit deny in a service control policy',
    );
    expect(remedy).toContain('Remove the Deny');
    expect(remedy).toContain('SCPs');
  });

  it('offers sts:GetFederationToken only where that permission is missing', () => {
    const missing =
      'User: x is not authorized to perform: sts:GetFederationToken on resource: arn:aws:sts::1:federated-user/polony';
    expect(
      refuse(
        'sts:GetFederationToken',
        'AccessDenied',
        `${missing} because no identity-based policy allows the sts:GetFederationToken action`,
      ).statement,
    ).toEqual({ Effect: 'Allow', Action: ['sts:GetFederationToken'], Resource: '*' });
    for (const [name, message] of [
      ['InvalidClientTokenId', 'The security token included in the request is invalid'],
      ['AccessDenied', `${missing} with an explicit deny in an identity-based policy`],
    ] as const)
      expect(refuse('sts:GetFederationToken', name, message).statement).toBeUndefined();
  });
});

describe('a denied permission in a verification report', () => {
  const report = (message: string, result: 'denied' | 'unknown' = 'denied') =>
    reportPermission(
      {
        action: 's3:PutObject',
        result,
        resource: 'arn:aws:s3:::lab/runs/*',
        detail: 'Wrote a file',
        error: { code: 'AccessDenied', message },
      },
      { bucket: 'lab', prefix: 'runs' },
    );

  it('has a remedy and no statement for an explicit deny', () => {
    const { remedy, statement } = report(
      'User: x is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::lab/runs/x" with an explicit deny in a resource-based policy',
    );
    expect(remedy).toContain('from the bucket policy');
    expect(statement).toBeNull();
  });

  it('offers no s3 statement where a KMS permission is missing', () => {
    const { remedy, statement } = report(
      `User: x is not authorized to perform: kms:GenerateDataKey on resource: ${KEY} because no identity-based policy allows the kms:GenerateDataKey action`,
      'unknown',
    );
    expect(remedy).toContain('Allow kms:GenerateDataKey');
    expect(statement).toEqual({ Effect: 'Allow', Action: ['kms:GenerateDataKey'], Resource: KEY });
  });

  it('has a remedy and no statement where no policy is the reason', () => {
    const { remedy, statement } = reportPermission(
      {
        action: 's3:PutObject',
        result: 'unknown',
        resource: 'arn:aws:s3:::lab/runs/*',
        detail: 'Wrote a file',
        error: { code: 'KMS.DisabledException', message: 'The key is disabled.' },
      },
      { bucket: 'lab', prefix: 'runs' },
    );
    expect(remedy).toContain('Enable the KMS key');
    expect(statement).toBeNull();
  });

  it('has the statement of the table where AWS gives no reason', () => {
    expect(report('Access Denied').statement).toEqual({
      Effect: 'Allow',
      Action: ['s3:PutObject'],
      Resource: 'arn:aws:s3:::lab/runs/*',
    });
  });

  it('reads no reason in the name of an object', () => {
    const message =
      'User: arn:aws:iam::1:user/u is not authorized to perform: s3:GetObject on resource: ' +
      '"arn:aws:s3:::runs/block public access.txt" because no identity-based policy allows the s3:GetObject action';
    expect(parseDenial(message, 'AccessDenied')).toEqual({
      action: 's3:GetObject',
      resource: 'arn:aws:s3:::runs/block public access.txt',
      deny: 'implicit',
      policy: 'identity',
    });
  });
});
