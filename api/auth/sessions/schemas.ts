import { Type } from 'typebox';
import { component } from '../../openapi/components.js';
import {
  BODY,
  closed,
  errors,
  NoContent,
  NullableString,
  oneOf,
  responseBody,
  strings,
  Timestamp,
} from '../../openapi/shared.js';

const Session = component(
  'Session',
  Type.Object(
    {
      kind: oneOf(['key', 'root', 'person']),
      id: Type.String({ description: 'As in the audit log' }),
      name: Type.String({ description: 'Only the id is certain' }),
      email: NullableString,
      scopes: strings('As they were given: `*` stands for everything'),
      timeExpires: Type.Unsafe<string | null>({
        type: ['string', 'null'],
        format: 'date-time',
        description: 'When the access ends. Null for the key of the installation',
      }),
      csrfToken: Type.Unsafe<string | null>({
        type: ['string', 'null'],
        description: 'The value of the header x-csrf-token. Null for a request with an API key or a token',
      }),
    },
    {
      ...closed,
      examples: [
        {
          kind: 'key',
          id: '01920000-0000-7000-8000-000000000004',
          name: 'rosalind',
          email: null,
          scopes: ['runs:read', 'executions:*'],
          timeExpires: '2026-01-10T21:00:00.000Z',
          csrfToken: 'iXqWpFS0Kiz3F0zVjlJzVq4ncd4gXXyXjvGSbdGzKRg',
        },
      ],
    },
  ),
);

const SessionBody = Type.Object(
  {
    apiKey: Type.Optional(Type.String({ minLength: 1, maxLength: 1024, description: 'An API key' })),
    signInToken: Type.Optional(
      Type.String({ minLength: 1, maxLength: 128, description: 'What follows `#` in a sign-in link' }),
    ),
  },
  { ...closed, examples: [{ apiKey: 'polony_01920000000070008000000000000004_…' }] },
);

const SignInLink = Type.Object(
  {
    path: Type.String({
      description: 'Below the address of polony. The secret follows `#`, so it is in no request and no log',
    }),
    timeExpires: Timestamp,
  },
  closed,
);

const tags = ['SessionService'];
const sessionResponse = (description: string) => responseBody(description, { session: Session });

/** The operations on sessions of browsers, as the OpenAPI document describes them. */
export const operations = {
  methods: {
    operationId: 'SessionService_GetSignInMethods',
    tags,
    summary: 'List the ways to sign in',
    security: [],
    response: {
      200: responseBody('How a person can sign in', {
        methods: Type.Object(
          {
            apiKey: Type.Boolean({ description: 'With an API key: POST /v1/session' }),
            oidc: Type.Boolean({ description: 'At the identity provider: GET /v1/session/oidc/start' }),
          },
          closed,
        ),
      }),
      ...errors(),
    },
  },
  create: {
    operationId: 'SessionService_CreateSession',
    tags,
    summary: 'Sign in a browser',
    description:
      'Give either an API key or the token of a sign-in link. The response sets a cookie that scripts cannot read ' +
      'and that only requests from the same site carry. The session ends after 12 hours, when you sign out, or with the ' +
      'key: it has the scopes that the key has. Requests with the cookie that change something need the header ' +
      'x-csrf-token.',
    security: [],
    body: SessionBody,
    response: { 201: sessionResponse('The new session'), ...errors(...BODY) },
  },
  get: {
    operationId: 'SessionService_GetSession',
    tags,
    summary: 'Get who you are',
    response: { 200: sessionResponse('The caller of this request'), ...errors() },
  },
  delete: {
    operationId: 'SessionService_DeleteSession',
    tags,
    summary: 'Sign out',
    description: 'Ends the session of the cookie at once, and removes the cookie.',
    response: { 204: NoContent, ...errors(409) },
  },
  createLink: {
    operationId: 'SessionService_CreateSignInLink',
    tags,
    summary: 'Create a link that signs in once',
    description:
      'Whoever opens it in a browser signs in as you. It works once, within 15 minutes. The session ends no later ' +
      'than your key, your token or your own session. A caller has at most 20 links: a new one ends the oldest.',
    response: { 201: responseBody('The link. You cannot get it again', { signInLink: SignInLink }), ...errors() },
  },
  oidcStart: {
    operationId: 'SessionService_StartOidcSignIn',
    tags,
    summary: 'Sign in at the identity provider',
    description: 'For browsers: redirects to the provider, or to the page `/sign-in` with the reason of an error.',
    security: [],
    querystring: Type.Object(
      {
        returnTo: Type.Optional(
          Type.String({
            maxLength: 1024,
            description:
              'The path of the page to open after signing in, below the address of polony, with its query. ' +
              'The default is /',
          }),
        ),
      },
      closed,
    ),
    response: { 302: Type.Null({ description: 'To the identity provider' }), ...errors() },
  },
  oidcCallback: {
    operationId: 'SessionService_FinishOidcSignIn',
    tags,
    summary: 'Come back from the identity provider',
    description:
      'The redirect URI to register at the provider. It sets the cookie of the session and opens the page, or ' +
      'redirects to the page `/sign-in` with the reason of an error.',
    security: [],
    // Providers add parameters of their own (RFC 6749, 4.1.2).
    querystring: Type.Object(
      {
        code: Type.Optional(Type.String()),
        state: Type.Optional(Type.String()),
        error: Type.Optional(Type.String()),
        iss: Type.Optional(Type.String()),
      },
      { additionalProperties: true },
    ),
    response: {
      200: { description: 'A page that opens the requested one', content: { 'text/html': { schema: Type.String() } } },
      302: Type.Null({ description: 'To the page /sign-in' }),
      ...errors(),
    },
  },
};
