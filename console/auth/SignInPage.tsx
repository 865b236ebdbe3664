import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import Form from '@cloudscape-design/components/form';
import FormField from '@cloudscape-design/components/form-field';
import Header from '@cloudscape-design/components/header';
import Input from '@cloudscape-design/components/input';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useMutation, useQuery } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { type ReactNode, useEffect, useState } from 'react';
import { BASE_PATH } from '../app/base.js';
import { api, ask } from '../app/client.js';
import { Failure } from '../shared/Failure.js';
import { signIn } from './session.js';
import styles from './SignInPage.module.css';

/** Where to go after the sign-in: a page of this console only. */
const safeReturn = (returnTo: string | undefined): string =>
  returnTo !== undefined && /^\/(?![/\\])/.test(returnTo) && !returnTo.startsWith('/sign-in') ? returnTo : '/';

/** The token of a one-time address. It leaves the address at once. */
function takeToken(): string | undefined {
  const token = location.hash.slice(1);
  if (token === '') return undefined;
  history.replaceState(history.state, '', location.pathname + location.search);
  return token;
}

/** Signs in with a one-time address, an identity provider, or an API key. */
export function SignInPage(): ReactNode {
  const { returnTo, error } = useSearch({ from: '/sign-in' });
  const navigate = useNavigate();
  const [apiKey, setApiKey] = useState('');
  const target = safeReturn(returnTo);
  const methods = useQuery({
    queryKey: ['sign-in-methods'],
    queryFn: () => ask(api.GET('/v1/session/methods')),
  });
  const isOrganization = methods.data?.methods.oidc === true;
  const entering = useMutation({
    mutationFn: signIn,
    onSuccess: () => navigate({ href: target, replace: true }),
  });
  const { mutate } = entering;
  useEffect(() => {
    document.title = 'Sign in · polony';
    const enter = (): void => {
      const signInToken = takeToken();
      if (signInToken !== undefined) mutate({ signInToken });
    };
    enter();
    // Where this page is open already, a one-time address only changes the fragment, and loads nothing.
    addEventListener('hashchange', enter);
    return () => removeEventListener('hashchange', enter);
  }, [mutate]);
  return (
    <main className={styles.page}>
      <div className={styles.box}>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            const key = apiKey.trim();
            if (key !== '') entering.mutate({ apiKey: key });
          }}
        >
          <Container header={<Header variant="h1">Sign in to polony</Header>}>
            <SpaceBetween size="l">
              {error !== undefined && (
                <Alert type="error" header="The identity provider did not sign you in">
                  {error}
                </Alert>
              )}
              {entering.isError && <Failure error={entering.error} what="You are not signed in" />}
              {isOrganization && (
                <>
                  <Button
                    fullWidth
                    variant="primary"
                    formAction="none"
                    href={`${BASE_PATH}/v1/session/oidc/start?returnTo=${encodeURIComponent(target)}`}
                  >
                    Sign in with your organization
                  </Button>
                  <Box textAlign="center" color="text-body-secondary">
                    or
                  </Box>
                </>
              )}
              <Form
                actions={
                  <Button variant={isOrganization ? 'normal' : 'primary'} loading={entering.isPending}>
                    Sign in
                  </Button>
                }
              >
                <FormField
                  label="API key"
                  description={
                    'An administrator of polony creates one for you. ' +
                    'The console exchanges it for a session of 12 hours, and does not keep it.'
                  }
                >
                  <Input
                    type="password"
                    autoComplete={false}
                    value={apiKey}
                    onChange={({ detail }) => setApiKey(detail.value)}
                  />
                </FormField>
              </Form>
            </SpaceBetween>
          </Container>
        </form>
      </div>
    </main>
  );
}
