/** What to do where AWS refuses a request for a reason other than a policy, so that no Allow can help. */
interface OtherReason {
  /** Of the error. */
  code?: RegExp;
  /** Of its message. */
  message?: RegExp;
  /** One or more sentences, without the last full stop. */
  remedy: string;
}

/**
 * Sources: the references of common errors of IAM, STS and S3, the S3 User Guide ("Troubleshoot access denied errors" and
 * "Blocking public access"), and the errors of AWS KMS, which S3 repeats with `KMS.` before their code.
 */
const OTHER_REASONS: readonly OtherReason[] = [
  {
    code: /^RequestTimeTooSkewed|^RequestInTheFuture/,
    message: /signature (not yet current|expired)/i,
    remedy: 'Correct the clock of the machine on which polony runs: AWS refuses a time that differs by some minutes',
  },
  {
    code: /^InvalidClientTokenId|^UnrecognizedClient|^InvalidAccessKeyId|^InvalidToken|^AuthFailure/,
    remedy:
      'AWS does not know the credentials. Check that the access key or the role still exists and is active, and that ' +
      'its account has enabled the region',
  },
  {
    code: /^SignatureDoesNotMatch|^IncompleteSignature|^InvalidSignature/,
    remedy: "Check the secret access key, and whether a proxy changes polony's requests",
  },
  {
    code: /^OptInRequired|^NotSignedUp|^SubscriptionRequired|^AccountProblem|^AllAccessDisabled|^PendingVerification/,
    remedy: 'AWS has restricted the account, the bucket or the service. Ask its owner, or AWS Support, for the reason',
  },
  {
    code: /^RegionDisabled/,
    remedy: 'Activate STS for the region of the provider in the account settings of the IAM console',
  },
  {
    code: /^InvalidObjectState/,
    remedy: 'The object is in an archive. Restore it, and exclude the folder from the lifecycle rule that moved it',
  },
  {
    code: /^KMS\.NotFound/,
    remedy: 'Select an existing KMS key in the default encryption of the bucket: the one that is there does not exist',
  },
  {
    code: /^KMS\.|^KMSInvalidState|^DisabledException|^InvalidKeyUsage/,
    remedy: 'Enable the KMS key of the bucket or of its objects. If it waits for its deletion, cancel that first',
  },
  {
    message: /block public access|BlockPublic(Policy|Acls)|RestrictPublicBuckets/i,
    remedy:
      'S3 Block Public Access stands in the way. Remove the statements that make the bucket public from its policy, or ' +
      'have the owner change that setting of the bucket, the account or the organization',
  },
  {
    code: /^PermanentRedirect|^TemporaryRedirect|^AuthorizationHeaderMalformed|^IllegalLocationConstraint/,
    remedy: 'The bucket is in another region. Correct the region of the storage connection',
  },
  {
    code: /^MethodNotAllowed/,
    remedy: 'Use a provider of the account that owns the bucket: S3 refuses this call to identities of other accounts',
  },
  {
    message: /assume (the )?(\w+ )?role\b/i,
    remedy:
      'Check that the execution role of the compute connection exists, and that its trust policy lets ' +
      'omics.amazonaws.com assume it',
  },
];

/** Finds what to do about an error that no policy causes; undefined where policies may cause it. */
export function findOtherRemedy(code: string, text: string): string | undefined {
  return OTHER_REASONS.find((reason) => reason.code?.test(code) === true || reason.message?.test(text) === true)
    ?.remedy;
}
