import type { IamChoice } from '../choice.js';
import type { PolicyDocument } from '../permissions.js';

/** Both policies of a role. */
export interface RolePolicies {
  trustPolicy: PolicyDocument;
  permissionPolicy: PolicyDocument;
}

/** What every format contains. */
export interface DocumentParts {
  /** Name of the role or user. */
  name: string;
  executionName: string;
  executionPath: string;
  /** Null for a user. */
  trust: PolicyDocument | null;
  policy: PolicyDocument;
  /** Null without Bases2Fastq. */
  execution: RolePolicies | null;
}

/** The longest session that the role allows, in seconds: 12 hours, as the vendor's page recommends. */
export const ROLE_SESSION_SECONDS = 43_200;
/** Name of the inline policies. */
export const POLICY_NAME = 'polony';

/** The names of the roles: the example of the vendor's page, and the execution role's name from its ARN. */
export function chooseNames({
  executionRoleArn,
}: IamChoice): Pick<DocumentParts, 'name' | 'executionName' | 'executionPath'> {
  const [, executionPath = '/', executionName = 'Element-HealthOmics-Execution'] =
    /:role(\/(?:.*\/)?)([^/]+)$/.exec(executionRoleArn ?? '') ?? [];
  return {
    name: executionName === 'Element-ServiceUser' ? 'Element-ServiceUser-Provider' : 'Element-ServiceUser',
    executionName,
    executionPath,
  };
}
