// `npm run client` generates this file from the API's schemas. Do not edit it.
export interface paths {
    "/healthz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Check whether the process is alive */
        get: operations["Health_Live"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/readyz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Check whether polony can serve requests, and if not, which part fails */
        get: operations["Health_Ready"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/api-keys": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List API keys, oldest first */
        get: operations["AuthService_ListApiKeys"];
        put?: never;
        /**
         * Create an API key
         * @description Only this response contains the key, because polony stores only its SHA-256 hash. For the same reason this operation ignores Idempotency-Key: if you lose the response, revoke the key and create another one. A key that you create with another key expires no later than that key.
         */
        post: operations["AuthService_CreateApiKey"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/api-keys/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get an API key */
        get: operations["AuthService_GetApiKey"];
        put?: never;
        post?: never;
        /** Revoke an API key immediately and remove it from the list */
        delete: operations["AuthService_DeleteApiKey"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/api-keys/{id}/revoke": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Revoke an API key immediately
         * @description The key stays in the list. Revoking it again changes nothing.
         */
        post: operations["AuthService_RevokeApiKey"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/api-keys/{id}/rotate": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Replace an API key by a new one with the same name and scopes
         * @description Only this response contains the new key. The old key gets another name and still works for some time, so that you can give the new key to the program. You must have all scopes of the key yourself. A key can replace itself, but the new key expires no later than the key of the request. With graceHours 0, the old key has ended when the response arrives: if the old key is your own and you lose the response, you have no key.
         */
        post: operations["AuthService_RotateApiKey"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/audit-log": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List who did what, newest first
         * @description The log records every request that changes something, returns credentials or download URLs, or lacks a scope. Failed logins are in it, counted for each address and minute, and so is what workflows do on request of Temporal. polony never changes or deletes an entry. An entry without `timeEnded` is of a request that is in progress, or that stopped before its outcome was saved.
         */
        get: operations["AuditService_ListAuditLog"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/audit-log/export": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Export who did what, newest first, as CSV
         * @description At most the newest 100000 entries of the search; the header x-polony-more of the response says whether there are more: narrow since and until then. Texts that a spreadsheet would take for a formula have an apostrophe in front of them.
         */
        get: operations["AuditService_ExportAuditLog"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/auth": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get the tenant and the scopes of the caller */
        get: operations["AuthService_GetAuth"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/changes": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Follow what changes as a stream of events
         * @description Sends server-sent events. `ready`: from now on the stream has every change. `change`: an object has changed; its data is `{topic, id, status, timeChanged}`, and for verifications `kind`. `reset`: changes were missed, so load everything again. Only objects that the caller may see. Changes that follow each other fast are one event. A stream lasts at most five minutes: then reconnect with `Last-Event-ID`. An event can come twice.
         */
        get: operations["ChangeService_WatchChanges"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/compute-connections": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List compute connections, oldest first */
        get: operations["ComputeConnectionService_ListComputeConnections"];
        put?: never;
        /** Connect AWS HealthOmics */
        post: operations["ComputeConnectionService_CreateComputeConnection"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/compute-connections/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a compute connection */
        get: operations["ComputeConnectionService_GetComputeConnection"];
        put?: never;
        post?: never;
        /** Delete a compute connection that nothing uses */
        delete: operations["ComputeConnectionService_DeleteComputeConnection"];
        options?: never;
        head?: never;
        /**
         * Change a compute connection
         * @description Fields that you leave out stay as they are. You can change roles within the AWS account at any time. You can change the account and the region only while no flow or execution uses the compute connection.
         */
        patch: operations["ComputeConnectionService_UpdateComputeConnection"];
        trace?: never;
    };
    "/v1/compute-connections/{id}/verification": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get the last verification report of a compute connection */
        get: operations["ComputeConnectionService_GetComputeConnectionVerification"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/compute-connections/{id}/verify": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Verify a compute connection now
         * @description To read the results, get `…/verification`.
         */
        post: operations["ComputeConnectionService_VerifyComputeConnection"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Receive an event from EventBridge
         * @description An event only triggers a check, so a forged event costs at most one extra request. S3 `Object Created` checks the run, and aws.omics `Run Status Change` checks the execution. polony accepts all other events and ignores them. POLONY_EVENTS_KEY is a key for this operation only.
         */
        post: operations["EventService_TakeEvent"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List executions, newest first */
        get: operations["ExecutionService_ListExecutions"];
        put?: never;
        /**
         * Start a flow for a run
         * @description While the run is still uploading, the execution waits for the upload to end. The scopes runs:read for the run and flows:read for the flow are needed too.
         */
        post: operations["ExecutionService_CreateExecution"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{execution_id}/credentials": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get short-lived AWS credentials to read the output of an execution
         * @description The credentials can read the objects below the prefix and nothing else.
         */
        get: operations["ExecutionService_GetExecutionDownloadCredentials"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{execution_id}/files": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the files of an execution
         * @description The list is empty until the HealthOmics run starts. The prefix can end in the middle of a name.
         */
        get: operations["ExecutionService_ListExecutionFiles"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{execution_id}/files/download-url": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get a URL to download or display a file of an execution
         * @description The URL works without a key. polony does not look whether the file exists: S3 says so at the URL.
         */
        get: operations["ExecutionService_GetExecutionDownloadUrl"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{execution_id}/files/preview": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Show the beginning of a text file, or an image, of an execution
         * @description Texts have their first MiB, images (PNG, JPEG, GIF, WebP) at most one MiB. SVG is text, because it can contain scripts. Archived files and files of other types have no preview.
         */
        get: operations["ExecutionService_PreviewExecutionFile"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{execution_id}/files/report": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get an HTML report of an execution, such as the QC page of Bases2Fastq
         * @description For a frame of a page: the Content-Security-Policy of the response lets the report run its own scripts in an origin of its own, without cookies, and load nothing. At most 32 MiB.
         */
        get: operations["ExecutionService_GetExecutionReport"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{execution_id}/logs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get the reason why an execution failed, and the log of Bases2Fastq
         * @description The last MiB of info/Bases2Fastq.log, if the storage connection is used for data exploration. The log is empty until there is one.
         */
        get: operations["ExecutionService_GetExecutionLogs"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get an execution */
        get: operations["ExecutionService_GetExecution"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{id}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Cancel an execution */
        post: operations["ExecutionService_CancelExecution"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{id}/details": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get an execution with its HealthOmics run, its results and what blocks it */
        get: operations["ExecutionService_GetExecutionDetails"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{id}/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Follow an execution as a stream of events
         * @description Sends a server-sent event named `execution` now and at every change, until the execution ends. Each event has the body of `…/details`. A client that reads slowly skips to the latest state. A stream lasts at most five minutes: then reconnect with `Last-Event-ID`. If that event was the last one of an execution that has ended, the response is 204.
         */
        get: operations["ExecutionService_WatchExecution"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{id}/relaunch": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Repeat an execution that has ended
         * @description Creates a new execution of the same flow for the same run, with its own HealthOmics run. Fields that you leave out keep their values. `parameters` replaces all parameters.
         */
        post: operations["ExecutionService_RelaunchExecution"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{id}/results": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the files that an execution produced
         * @description The first 1,000 files, with their keys relative to the output folder. `summary.files` of the details has the total.
         */
        get: operations["ExecutionService_GetExecutionResults"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{id}/retry": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Retry a blocked execution now */
        post: operations["ExecutionService_RetryExecution"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{id}/series": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get the measurements in the results of an execution by read, cycle and lane, and its index assignment
         * @description From RunStats.json, IndexAssignment.csv and UnassignedSequences.csv. Yields are in bases, and shares in percent. Values that a file lacks are null.
         */
        get: operations["ExecutionService_GetExecutionSeries"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/{id}/steps": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the steps that an execution has reached, with their times
         * @description Oldest first. Each step ends when the next one begins. A HealthOmics run that failed for a transient reason is followed by the steps of the next attempt.
         */
        get: operations["ExecutionService_ListExecutionSteps"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/blocked": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the executions that wait for a person, newest first
         * @description Each with what blocks it, since when, and what to do.
         */
        get: operations["ExecutionService_ListBlockedExecutions"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/counts": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Count executions by status */
        get: operations["ExecutionService_CountExecutions"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/filter-fields": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the keywords that filter executions */
        get: operations["ExecutionService_ListExecutionFilterFields"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/executions/filter-values": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List values that occur among executions, for a filter
         * @description For keywords without an index, the values of the 10,000 newest executions.
         */
        get: operations["ExecutionService_ListExecutionFilterValues"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/flows": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List flows, oldest first */
        get: operations["FlowService_ListFlows"];
        put?: never;
        /** Add a Bases2Fastq flow */
        post: operations["FlowService_CreateFlow"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/flows/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a flow */
        get: operations["FlowService_GetFlow"];
        put?: never;
        post?: never;
        /** Delete a flow that has no current executions */
        delete: operations["FlowService_DeleteFlow"];
        options?: never;
        head?: never;
        /**
         * Change a flow
         * @description Fields that you leave out stay as they are. autoStart, parameterNames, parameters and runSettings are each replaced as a whole. A change does not affect executions whose HealthOmics run has started. You can change the compute connection only while the flow has no current executions.
         */
        patch: operations["FlowService_UpdateFlow"];
        trace?: never;
    };
    "/v1/flows/{id}/verification": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get the last verification report of a flow */
        get: operations["FlowService_GetFlowVerification"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/flows/{id}/verify": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Verify a flow now
         * @description To read the results, get `…/verification`.
         */
        post: operations["FlowService_VerifyFlow"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/iam-documents": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get the IAM documents for a provider and its execution role
         * @description The documents equal the vendor's templates, or are narrowed to the resources that you name. They contain optional permissions only for the capabilities that you ask for.
         */
        get: operations["IamDocumentService_GetIamDocuments"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/iam-documents/check": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Check what a permission policy grants, statement by statement
         * @description polony reads only this policy. Permissions boundaries, bucket policies and policies of your AWS organization can still deny what it grants. A permission that applies only in some cases is `conditional`.
         */
        post: operations["IamDocumentService_CheckPolicy"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/iam-documents/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get the documents that make EventBridge send events to polony
         * @description The documents create the rules, the API destination, the connection and the role for events about uploads and HealthOmics runs. They take the key POLONY_EVENTS_KEY as a parameter.
         */
        get: operations["IamDocumentService_GetEventDocuments"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/installation": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get what every caller may know about this installation */
        get: operations["InstallationService_GetInstallation"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/instruments": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the instruments that runs came from, by serial number */
        get: operations["InstrumentService_ListInstruments"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/instruments/{serial_number}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get an instrument */
        get: operations["InstrumentService_GetInstrument"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/instruments/{serial_number}/metrics": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the metrics of the sequencing runs of an instrument, newest first
         * @description One item for each run that the caller may see (`runs:read`). Values are those of `metrics` of the run. null: nothing has measured it, or not yet.
         */
        get: operations["InstrumentService_ListInstrumentMetrics"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/instruments/{serial_number}/storage-connections": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the storage connections that an instrument can upload to
         * @description Storage connections that are used for run upload, whose verification has not failed, and that the caller may see or upload to. polony does not need to know the instrument yet.
         */
        get: operations["InstrumentService_ListInstrumentStorageConnections"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/providers": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List providers, oldest first */
        get: operations["ProviderService_ListProviders"];
        put?: never;
        /** Connect an AWS account */
        post: operations["ProviderService_CreateProvider"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/providers/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a provider */
        get: operations["ProviderService_GetProvider"];
        put?: never;
        post?: never;
        /** Delete a provider that no connection uses */
        delete: operations["ProviderService_DeleteProvider"];
        options?: never;
        head?: never;
        /**
         * Change a provider
         * @description Fields that you leave out stay as they are. You can change the role at any time. The new role can belong to another AWS account only while no connection uses the provider. To rotate access keys, send both the new ID and the new secret. polony may use sessions of the old key for up to 30 more seconds, so deactivate the old key after that.
         */
        patch: operations["ProviderService_UpdateProvider"];
        trace?: never;
    };
    "/v1/providers/{id}/verification": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get the last verification report of a provider */
        get: operations["ProviderService_GetProviderVerification"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/providers/{id}/verify": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Verify a provider now
         * @description This also verifies the connections and flows of the provider. To read the results, get `…/verification`.
         */
        post: operations["ProviderService_VerifyProvider"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/providers/verify-draft": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Verify a provider before you create it
         * @description polony tries the role or the access keys at once, and saves nothing. For a role without externalId, the response has a new one: put it into the trust policy, and send it in the next verification and in the creation.
         */
        post: operations["ProviderService_VerifyDraft"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List runs, newest first */
        get: operations["RunService_ListRuns"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get a run
         * @description A caller with the scope `runs:download` also gets a URL to download the run manifest. It is valid for an hour.
         */
        get: operations["RunService_GetRun"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs/{id}/details": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a run and the state of its upload */
        get: operations["RunService_GetRunDetails"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs/{id}/manifest-checks": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Check a run manifest for a run, without starting anything
         * @description The same check as before an execution starts. The default manifest is that of the run folder. A manifest in S3 needs the scope `runs:download` or `storage:download`, and a flow `flows:read`.
         */
        post: operations["RunService_CheckManifest"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs/{id}/retry": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Check the upload of a run now
         * @description If polony stopped following the upload, for example after it rejected the run, it starts again. Use this after you uploaded a failed or stopped run again: polony does not look at such a run by itself.
         */
        post: operations["RunService_RetryRun"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs/{id}/series": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get the measurements of a run by read, cycle and lane, and its index assignment
         * @description instrument has what the instrument measured: AvitiRunStats.json, and IndexAssignment.csv with the scope `runs:download`. execution has what Bases2Fastq found, with the scope `executions:read`: RunStats.json, IndexAssignment.csv and UnassignedSequences.csv of the execution that completed last. Yields are in bases, and shares in percent. Values that a file lacks are null.
         */
        get: operations["RunService_GetRunSeries"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs/{run_id}/credentials": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get short-lived AWS credentials to read a run
         * @description The credentials can read the objects below the prefix and nothing else.
         */
        get: operations["RunService_GetRunDownloadCredentials"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs/{run_id}/files": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the files of a run
         * @description The prefix can end in the middle of a name.
         */
        get: operations["RunService_ListRunFiles"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs/{run_id}/files/download-url": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get a URL to download or display a file of a run
         * @description The URL works without a key. polony does not look whether the file exists: S3 says so at the URL.
         */
        get: operations["RunService_GetRunDownloadUrl"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs/{run_id}/files/preview": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Show the beginning of a text file, or an image, of a run
         * @description Texts have their first MiB, images (PNG, JPEG, GIF, WebP) at most one MiB. SVG is text, because it can contain scripts. Archived files and files of other types have no preview.
         */
        get: operations["RunService_PreviewRunFile"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs/{run_id}/files/report": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get an HTML report of a run
         * @description For a frame of a page: the Content-Security-Policy of the response lets the report run its own scripts in an origin of its own, without cookies, and load nothing. At most 32 MiB.
         */
        get: operations["RunService_GetRunReport"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs/blocked": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the runs whose upload polony cannot follow until a person acts, newest first
         * @description Each with what blocks it, since when, and what to do.
         */
        get: operations["RunService_ListBlockedRuns"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs/counts": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Count runs by status */
        get: operations["RunService_CountRuns"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs/filter-fields": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the keywords that filter runs */
        get: operations["RunService_ListRunFilterFields"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/runs/filter-values": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List values that occur among runs, for a filter
         * @description For keywords without an index, the values of the 10,000 newest runs.
         */
        get: operations["RunService_ListRunFilterValues"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/session": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get who you are */
        get: operations["SessionService_GetSession"];
        put?: never;
        /**
         * Sign in a browser
         * @description Give either an API key or the token of a sign-in link. The response sets a cookie that scripts cannot read and that only requests from the same site carry. The session ends after 12 hours, when you sign out, or with the key: it has the scopes that the key has. Requests with the cookie that change something need the header x-csrf-token.
         */
        post: operations["SessionService_CreateSession"];
        /**
         * Sign out
         * @description Ends the session of the cookie at once, and removes the cookie.
         */
        delete: operations["SessionService_DeleteSession"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/session/methods": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the ways to sign in */
        get: operations["SessionService_GetSignInMethods"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/session/oidc/callback": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Come back from the identity provider
         * @description The redirect URI to register at the provider. It sets the cookie of the session and opens the page, or redirects to the page `/sign-in` with the reason of an error.
         */
        get: operations["SessionService_FinishOidcSignIn"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/session/oidc/start": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Sign in at the identity provider
         * @description For browsers: redirects to the provider, or to the page `/sign-in` with the reason of an error.
         */
        get: operations["SessionService_StartOidcSignIn"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/session/sign-in-links": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Create a link that signs in once
         * @description Whoever opens it in a browser signs in as you. It works once, within 15 minutes. The session ends no later than your key, your token or your own session. A caller has at most 20 links: a new one ends the oldest.
         */
        post: operations["SessionService_CreateSignInLink"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List storage connections, oldest first */
        get: operations["StorageConnectionService_ListStorageConnections"];
        put?: never;
        /** Connect a bucket */
        post: operations["StorageConnectionService_CreateStorageConnection"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a storage connection */
        get: operations["StorageConnectionService_GetStorageConnection"];
        put?: never;
        post?: never;
        /**
         * Delete a storage connection
         * @description This does not change the bucket or its contents.
         */
        delete: operations["StorageConnectionService_DeleteStorageConnection"];
        options?: never;
        head?: never;
        /**
         * Change a storage connection
         * @description Fields that you leave out stay as they are. Once the storage connection has runs, you cannot change its provider, region, bucket or prefix.
         */
        patch: operations["StorageConnectionService_UpdateStorageConnection"];
        trace?: never;
    };
    "/v1/storage-connections/{id}/access-grants": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List who may read the bucket, oldest first
         * @description polony reads the bucket policy for each request, so the list shows changes that others made.
         */
        get: operations["StorageConnectionService_ListAccessGrants"];
        put?: never;
        /**
         * Let a principal read the bucket
         * @description Adds the vendor's statements to the bucket policy and keeps all other statements. A principal of another account also needs the same actions in an IAM policy of its own account. If AWS does not finish within 20 seconds, the state is `pending` and polony continues in the background.
         */
        post: operations["StorageConnectionService_CreateAccessGrant"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{id}/access-grants/{grant_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a grant */
        get: operations["StorageConnectionService_GetAccessGrant"];
        put?: never;
        post?: never;
        /**
         * Remove a grant from the bucket policy
         * @description polony keeps all statements of others. If the policy has no other statement, polony deletes the policy. If AWS does not finish within 20 seconds, the state is `removing` and polony continues in the background.
         */
        delete: operations["StorageConnectionService_DeleteAccessGrant"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{id}/access-grants/{grant_id}/repair": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Write a grant into the bucket policy again
         * @description Use it after AWS rejected a grant, or after somebody removed or changed its statements. polony overwrites statements that have the Sids of the grant but a different content.
         */
        post: operations["StorageConnectionService_RepairAccessGrant"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{id}/details": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a storage connection with its settings */
        get: operations["StorageConnectionService_GetStorageConnectionDetails"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{id}/discover": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Search for new runs now */
        post: operations["StorageConnectionService_DiscoverRuns"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{id}/ignored-folders": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List folders that look like runs and that polony ignores
         * @description polony lists the bucket for each request, in the order of S3. A folder looks like a run if it has RunParameters.json or RunUploaded.json among its first 1,000 names, or if its name nearly has the form of a run folder. A page ends after 50 requests to S3, so that it may be empty although nextPageToken says that more follow.
         */
        get: operations["StorageConnectionService_ListIgnoredFolders"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{id}/upload-credentials": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Create short-lived AWS credentials to upload one run
         * @description The storage connection must be used for run upload. The credentials can write and list objects below the run folder, and cannot read them. A run whose upload is complete cannot be overwritten.
         */
        post: operations["StorageConnectionService_CreateUploadCredentials"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{id}/verification": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get the last verification report of a storage connection */
        get: operations["StorageConnectionService_GetStorageConnectionVerification"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{id}/verify": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Verify a storage connection now
         * @description To read the results, get `…/verification`.
         */
        post: operations["StorageConnectionService_VerifyStorageConnection"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{storage_connection_id}/credentials": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get short-lived AWS credentials to read a storage connection
         * @description The storage connection must be used for data exploration. The credentials can read the objects below the prefix and nothing else.
         */
        get: operations["StorageConnectionService_GetDownloadCredentials"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{storage_connection_id}/files": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the files of a storage connection
         * @description The storage connection must be used for data exploration. The prefix is a folder.
         */
        get: operations["StorageConnectionService_ListFiles"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{storage_connection_id}/files/download-url": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get a URL to download or display a file of a storage connection
         * @description The URL works without a key. polony does not look whether the file exists: S3 says so at the URL.
         */
        get: operations["StorageConnectionService_GetDownloadUrl"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{storage_connection_id}/files/preview": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Show the beginning of a text file, or an image, of a storage connection
         * @description Texts have their first MiB, images (PNG, JPEG, GIF, WebP) at most one MiB. SVG is text, because it can contain scripts. Archived files and files of other types have no preview.
         */
        get: operations["StorageConnectionService_PreviewFile"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/storage-connections/{storage_connection_id}/files/report": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get an HTML report of a storage connection
         * @description For a frame of a page: the Content-Security-Policy of the response lets the report run its own scripts in an origin of its own, without cookies, and load nothing. At most 32 MiB.
         */
        get: operations["StorageConnectionService_GetReport"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List webhooks, oldest first */
        get: operations["WebhookService_ListWebhooks"];
        put?: never;
        /**
         * Create a webhook
         * @description polony sends events to the URL. The response has the secret that signs them (Standard Webhooks). polony shows the secret only once.
         */
        post: operations["WebhookService_CreateWebhook"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a webhook */
        get: operations["WebhookService_GetWebhook"];
        put?: never;
        post?: never;
        /** Delete a webhook with its secrets and deliveries */
        delete: operations["WebhookService_DeleteWebhook"];
        options?: never;
        head?: never;
        /**
         * Change a webhook
         * @description Fields that you leave out keep their values. While a webhook is switched off, polony records no events for it and gives up waiting deliveries when their time comes. You can replay those.
         */
        patch: operations["WebhookService_UpdateWebhook"];
        trace?: never;
    };
    "/v1/webhooks/{id}/deliveries": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the deliveries of a webhook, newest first
         * @description polony keeps deliveries for 30 days, at most the newest 10,000 of each webhook. Unfinished deliveries stay.
         */
        get: operations["WebhookService_ListDeliveries"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks/{id}/replay": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Deliver events again
         * @description Events keep their webhook-id, so a receiver can recognise them. Deliveries that wait for their next attempt are sent now. Deliveries without an attempt do not change.
         */
        post: operations["WebhookService_ReplayWebhook"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks/{id}/rotate-secret": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Replace the signing secret
         * @description For 24 hours polony signs with both secrets, so that the receiver can switch. A webhook has at most 5 valid secrets. polony shows the new secret only once.
         */
        post: operations["WebhookService_RotateSecret"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/webhooks/{id}/test": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Send the event webhook.test
         * @description polony sends it whatever event types the webhook has. Its deliveries show the result.
         */
        post: operations["WebhookService_TestWebhook"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        AccessGrant: {
            createdBy: string;
            description: string;
            /** @description In the states missing and changed: what the bucket policy has under the Sids of the grant */
            foundStatements?: {
                [key: string]: unknown;
            }[];
            id: string;
            /** @description Relative to the prefix of the storage connection. Null for the whole bucket */
            prefix: string | null;
            /** @description ARN of a role, of a user, or of the root of an account */
            principal: string;
            problem: components["schemas"]["AccessProblem"] | null;
            /**
             * @description active: the bucket policy contains the grant. missing, changed: somebody removed or changed its statements in the policy. pending, removing: polony has not finished writing the policy. failed: AWS rejected the grant, or its principal was deleted. expired: the grant ended at timeExpires
             * @enum {string}
             */
            state: "active" | "missing" | "changed" | "pending" | "failed" | "removing" | "expired";
            /** @description The statements that belong in the bucket policy */
            statements: {
                [key: string]: unknown;
            }[];
            storageConnectionId: string;
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeExpires: string | null;
            /** Format: date-time */
            timeUpdated: string;
            /** @description What the principal may read */
            uri: string;
            /** @description Why the principal may be unable to read the bucket although the grant is active */
            warnings: components["schemas"]["GrantWarning"][];
        };
        AccessProblem: {
            action: string | null;
            /** @description For programs, such as ACCESS_DENIED, PRINCIPAL_NOT_FOUND, DELETED_PRINCIPAL, POLICY_TOO_LARGE, PUBLIC_POLICY_BLOCKED */
            kind: string;
            message: string;
            remedy: string;
            resource: string | null;
            /** @description The policy statement that would allow the action */
            statement: {
                [key: string]: unknown;
            } | null;
        };
        /**
         * @example {
         *       "id": "01920000-0000-7000-8000-000000000004",
         *       "name": "lims",
         *       "scopes": [
         *         "runs:read",
         *         "executions:read",
         *         "executions:create"
         *       ],
         *       "state": "active",
         *       "createdBy": "default",
         *       "createdById": "default",
         *       "timeCreated": "2026-01-10T09:00:00.000Z",
         *       "timeExpires": "2026-04-10T09:00:00.000Z",
         *       "timeLastUsed": null,
         *       "timeRevoked": null,
         *       "revokedBy": null,
         *       "revokedById": null
         *     }
         */
        ApiKey: {
            /** @description Name of the caller who created it. Only the id is certain */
            createdBy: string;
            /** @description Id of the caller who created it, as in the audit log. Null for keys of earlier versions */
            createdById: string | null;
            id: string;
            name: string;
            revokedBy: string | null;
            revokedById: string | null;
            scopes: string[];
            /** @enum {string} */
            state: "active" | "expired" | "revoked";
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeExpires: string;
            /**
             * Format: date-time
             * @description Accurate to the minute
             */
            timeLastUsed: string | null;
            /** Format: date-time */
            timeRevoked: string | null;
        };
        /**
         * @example {
         *       "id": "01920000-0000-7000-8000-000000000005",
         *       "time": "2026-01-16T05:00:00.000Z",
         *       "requestId": "b3f1c2d4-0000-4000-8000-000000000000",
         *       "caller": {
         *         "kind": "key",
         *         "id": "01920000-0000-7000-8000-000000000004",
         *         "name": "lims"
         *       },
         *       "address": "192.0.2.7",
         *       "action": "ExecutionService_CancelExecution",
         *       "resourceType": "executions",
         *       "resourceId": "01920000-0000-7000-8000-000000000006",
         *       "timeEnded": "2026-01-16T05:00:00.120Z",
         *       "status": 202,
         *       "reason": null,
         *       "detail": {
         *         "fields": [
         *           "reason"
         *         ]
         *       }
         *     }
         */
        AuditEntry: {
            /** @description The operationId */
            action: string;
            address: string | null;
            caller: {
                id: string;
                /** @enum {string} */
                kind: "root" | "key" | "person" | "system" | "temporal" | "anonymous";
                name: string;
            };
            detail: {
                [key: string]: unknown;
            } | null;
            id: string;
            reason: string | null;
            requestId: string;
            resourceId: string | null;
            resourceType: string | null;
            /** @description HTTP status of the response */
            status: number | null;
            /** Format: date-time */
            time: string;
            /** Format: date-time */
            timeEnded: string | null;
        };
        /** @description What needs a person to act, and what to do */
        Blocked: {
            action?: string;
            kind: string;
            message: string;
            remedy: string;
            resource?: string;
            /**
             * Format: date-time
             * @description Since when the same kind of problem blocks
             */
            since?: string;
            /** @description The policy statement that would grant the missing permission */
            statement?: unknown;
        };
        ComputeConnection: {
            executionRoleArn: string;
            id: string;
            name: string;
            providerId: string;
            region: string;
            /** @enum {string} */
            status: "COMPUTE_CONNECTION_STATUS_UNSPECIFIED" | "COMPUTE_CONNECTION_STATUS_CONNECTED" | "COMPUTE_CONNECTION_STATUS_WARNING" | "COMPUTE_CONNECTION_STATUS_FAILED";
            statusDescription: string;
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeUpdated: string;
            /** Format: date-time */
            timeUsed: string | null;
            /** Format: date-time */
            timeVerified: string | null;
            type: string;
        };
        Consumable: {
            /** Format: date-time */
            expiration?: string;
            lotNumber: string;
            partNumber: string;
            serialNumber: string;
        };
        /** @description Arrays of the same length as cycle. null in an array is a value that the file lacks, and null in place of an array means that the file has none of its values */
        CycleSeries: {
            /** @description Counted from 1 */
            cycle: number[];
            /** @description Percent of the PhiX bases that are wrong */
            errorRate: (number | null)[] | null;
            /** @description Percent of the bases of the cycle */
            percentA: (number | null)[] | null;
            /** @description Percent of the bases of the cycle */
            percentC: (number | null)[] | null;
            /** @description Percent of the bases of the cycle */
            percentG: (number | null)[] | null;
            /** @description Percent of the bases of the cycle */
            percentN: (number | null)[] | null;
            /** @description Percent of the bases with a quality of 30 or more */
            percentQ30: (number | null)[] | null;
            /** @description Percent of the bases with a quality of 40 or more */
            percentQ40: (number | null)[] | null;
            /** @description Percent of the bases of the cycle */
            percentT: (number | null)[] | null;
            /** @description Phred score */
            qualityScoreMean: (number | null)[] | null;
        };
        DraftVerification: {
            capabilities: {
                /** @enum {string} */
                capability: "runUpload" | "dataExploration" | "bases2fastq" | "sharing" | "cliCredentials";
                /** @description Permissions that are denied */
                missing: string[];
                /** @enum {string} */
                state: "ready" | "limited" | "notReady";
                /** @description Permissions that polony could not test yet */
                unknown: string[];
            }[];
            description: string;
            findings: {
                code: string;
                message: string;
                remedy: string;
                /** @enum {string} */
                severity: "error" | "warning" | "info";
            }[];
            identity: {
                accountId: string;
                arn: string;
            } | null;
            permissions: {
                action: string;
                /** @description Capabilities that need this permission, fully or in part */
                capabilities: string[];
                /** @description How polony tested the permission, or why it did not */
                detail: string;
                /** @description The error that AWS returned */
                error: {
                    code: string;
                    message: string;
                } | null;
                /** @description In the report of a provider: the name of the provider, connection or flow with this result */
                of: string | null;
                purpose: string;
                /** @description What to do about a denial, by the reason that AWS gives. Null if AWS denied nothing */
                remedy: string | null;
                /** @enum {string} */
                requirement: "required" | "optional";
                resource: string;
                /** @enum {string} */
                result: "granted" | "denied" | "unknown";
                /** @description The smallest policy statement that grants the permission. Null if it is granted, or if no Allow statement in the policy of the role or user can help */
                statement: unknown;
                unlocks: string;
            }[];
            sessionSeconds: number | null;
            /** @enum {string} */
            status: "VERIFICATION_STATUS_CONNECTED" | "VERIFICATION_STATUS_WARNING" | "VERIFICATION_STATUS_FAILED";
        };
        Error: {
            /** @description The HTTP status */
            code: number;
            details: {
                "@type": string;
                domain: string;
                metadata: {
                    description?: string;
                    field?: string;
                    request_id: string;
                    rule?: string;
                } & {
                    [key: string]: unknown;
                };
                /** @description For programs, such as INVALID_FIELD, IN_USE, RUN_NOT_FOUND */
                reason: string;
            }[];
            message: string;
        };
        /**
         * @example {
         *       "id": "01920000-0000-7000-8000-000000000006",
         *       "name": "b2f NA12878",
         *       "status": "EXECUTION_STATUS_RUNNING",
         *       "statusDescription": "HealthOmics run 1234567 is RUNNING",
         *       "platform": "aws_omics",
         *       "workflow": {
         *         "name": "bases2fastq",
         *         "version": ""
         *       },
         *       "flow": {
         *         "id": "01920000-0000-7000-8000-000000000002",
         *         "name": "b2f"
         *       },
         *       "inputs": [
         *         {
         *           "run": {
         *             "id": "01920000-0000-7000-8000-000000000003",
         *             "name": "NA12878",
         *             "instrumentName": "AV240001",
         *             "kitType": "",
         *             "runType": "sequencing"
         *           }
         *         }
         *       ],
         *       "output": {
         *         "storageConnectionId": "01920000-0000-7000-8000-000000000001",
         *         "uri": "s3://lab-aviti/runs/polony-executions/01920000-0000-7000-8000-000000000006/1234567/",
         *         "kinds": []
         *       },
         *       "startedBy": {
         *         "id": "01920000-0000-7000-8000-000000000009",
         *         "email": "",
         *         "name": "lims"
         *       },
         *       "timeCreated": "2026-01-16T04:00:00.000Z",
         *       "timeStarted": "2026-01-16T04:00:05.000Z",
         *       "timeCompleted": null,
         *       "errorMessage": null
         *     }
         */
        Execution: {
            errorMessage: string | null;
            flow: {
                id: string;
                name: string;
            };
            id: string;
            inputs: {
                run: {
                    id: string;
                    instrumentName: string;
                    kitType: string;
                    name: string;
                    runType: string;
                };
            }[];
            name: string;
            output: components["schemas"]["Output"];
            platform: string;
            startedBy: {
                email: string;
                id: string;
                name: string;
            };
            /** @enum {string} */
            status: "EXECUTION_STATUS_UNTRIGGERED" | "EXECUTION_STATUS_INITIALIZED" | "EXECUTION_STATUS_PENDING" | "EXECUTION_STATUS_RUNNING" | "EXECUTION_STATUS_COMPLETED" | "EXECUTION_STATUS_FAILED" | "EXECUTION_STATUS_CANCELED";
            statusDescription: string;
            /** Format: date-time */
            timeCompleted: string | null;
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeStarted: string | null;
            workflow: {
                name: string;
                version: string;
            };
        };
        ExecutionDetails: {
            account: string;
            /** @description The number of the current HealthOmics run. The first is 1 */
            attempt: number;
            blocked: components["schemas"]["Blocked"] | null;
            /** Format: date-time */
            blockedSince: string | null;
            cancelRequested: {
                reason: string | null;
                requestedBy: string;
                /** @description The ID of the caller, as in the audit log. Names can be alike */
                requestedById: string | null;
                /** Format: date-time */
                time: string | null;
            } | null;
            computeConnectionId: string;
            /** @description HealthOmics runs that failed for a transient reason */
            earlierAttempts: {
                arn: string | null;
                attempt: number;
                failureReason: string | null;
                runId: string;
                runOutputUri: string | null;
                statusMessage: string | null;
                /** Format: date-time */
                timeEnded: string;
                /** Format: date-time */
                timeStarted: string | null;
                uuid: string | null;
            }[];
            errorType: string | null;
            /** @description Why the execution failed: who can fix it, what happened, and what to do */
            failure: {
                /** @enum {string} */
                owner: "customer" | "vendor" | "aws" | "polony";
                reason: string;
                toDo: string;
                transient: boolean;
                what: string;
            } | null;
            healthOmics: {
                arn: string | null;
                runId: string;
                runOutputUri: string | null;
                status: string | null;
                uuid: string | null;
            } | null;
            manifest: {
                /** @description The result of the manifest check: errors and warnings with rule, line, column and message */
                report: {
                    [key: string]: unknown;
                } | null;
                /** @enum {string} */
                source: "run" | "text" | "uri";
                uri: string | null;
            };
            /** @description The parameters that polony sent to HealthOmics */
            parameters: {
                [key: string]: unknown;
            } | null;
            region: string;
            relaunchOf: string | null;
            /** @description What Bases2Fastq produced */
            summary: {
                [key: string]: unknown;
            } | null;
            /** @enum {string} */
            trigger: "auto" | "api";
            /** @description What may go wrong with this run later. polony blocks nothing because of it */
            warnings: components["schemas"]["RunWarning"][];
            /** @description The workflow ID in Temporal */
            workflowId: string;
        };
        ExecutionSeries: {
            executionId: string;
            /** @description The files that were read, and why others were not */
            files: components["schemas"]["SeriesFile"][];
            indexAssignment: {
                /** @description Whether the file has more rows */
                isTruncated: boolean;
                /**
                 * @description What the percentages of rows of a single lane are shares of. Those of rows for 1+2 are shares of the run. null: the file does not show it
                 * @enum {string|null}
                 */
                percentOf: "run" | "lane" | null;
                rows: {
                    index1: string;
                    index2: string;
                    /** @description 1, 2 or 1+2. Rows for 1+2 are the sum of the others */
                    lane: string;
                    /** @description Percent: see percentOf */
                    percent: number | null;
                    /** @description Percent of its polonies whose index differs from that of the sample */
                    percentMismatch: number | null;
                    /** @description Percent of its polonies whose index is that of the sample */
                    percentPerfect: number | null;
                    polonies: number;
                    sampleName: string;
                    /** @description As the file counts samples */
                    sampleNumber: number | null;
                    /** @description Bases */
                    yield: number | null;
                }[];
            } | null;
            lanes: {
                /** @description Bases of assigned polonies */
                assignedYield: number | null;
                /** @description Mean over the cycles, in percent of the PhiX bases */
                errorRate: number | null;
                lane: number;
                /** @description Percent of the polonies that belong to a sample */
                percentAssigned: number | null;
                /** @description Percent of the assigned polonies whose index differs from that of the sample */
                percentMismatch: number | null;
                /** @description Percent. Only in the series of the instrument */
                percentPassingFilter: number | null;
                /** @description Percent */
                percentQ30: number | null;
                /** @description Percent */
                percentQ40: number | null;
                /** @description In the series of the instrument, also polonies that do not pass the filter */
                polonies: number | null;
                /** @description Only in the series of the instrument */
                poloniesPassingFilter: number | null;
                /** @description Phred score */
                qualityScoreMean: number | null;
                reads: components["schemas"]["ReadSeries"][];
                /** @description Bases */
                yield: number | null;
            }[];
            samples: {
                /** @description Percent of its polonies whose index differs from that of the sample */
                percentMismatch: number | null;
                /** @description Percent */
                percentQ30: number | null;
                /** @description Percent */
                percentQ40: number | null;
                /** @description Assigned polonies */
                polonies: number | null;
                /** @description Phred score */
                qualityScoreMean: number | null;
                sampleName: string;
                /** @description As the file counts samples */
                sampleNumber: number | null;
                /** @description Bases */
                yield: number | null;
            }[];
            /** @description Version of Bases2Fastq */
            softwareVersion: string | null;
            totals: {
                /** @description Bases of assigned polonies */
                assignedYield: number | null;
                /** @description Mean over the cycles, in percent of the PhiX bases */
                errorRate: number | null;
                /** @description Percent of the polonies that belong to a sample */
                percentAssigned: number | null;
                /** @description Percent of the assigned polonies whose index differs from that of the sample */
                percentMismatch: number | null;
                /** @description Percent. Only in the series of the instrument */
                percentPassingFilter: number | null;
                /** @description Percent */
                percentQ30: number | null;
                /** @description Percent */
                percentQ40: number | null;
                /** @description In the series of the instrument, also polonies that do not pass the filter */
                polonies: number | null;
                /** @description Only in the series of the instrument */
                poloniesPassingFilter: number | null;
                /** @description Phred score */
                qualityScoreMean: number | null;
                reads: components["schemas"]["ReadSeries"][];
                /** @description Bases */
                yield: number | null;
            } | null;
            unassignedSequences: {
                isTruncated: boolean;
                /**
                 * @description What the percentages of rows of a single lane are shares of. Those of rows for 1+2 are shares of the run. null: the file does not show it
                 * @enum {string|null}
                 */
                percentOf: "run" | "lane" | null;
                /** @description For each lane, at most 100, those with the most polonies first */
                rows: {
                    index1: string;
                    index2: string;
                    /** @description 1, 2 or 1+2. Rows for 1+2 are the sum of the others */
                    lane: string;
                    /** @description Percent: see percentOf */
                    percent: number | null;
                    polonies: number;
                }[];
            } | null;
            /** @description What is wrong with single values, which are null */
            warnings: string[];
        };
        /**
         * @example {
         *       "path": "BaseCalls/R1_C001.zip",
         *       "name": "R1_C001.zip",
         *       "size": 104857600,
         *       "lastModified": "2026-01-15T20:00:00.000Z",
         *       "uri": "s3://lab-aviti/runs/AV240001/20260115_AV240001_NA12878/BaseCalls/R1_C001.zip",
         *       "storageClass": "STANDARD"
         *     }
         */
        File: {
            /** @description Present if you ask for it. Archived files and keys with folders named . or .. have no URL */
            downloadUrl?: string;
            /** Format: date-time */
            lastModified: string;
            name: string;
            /** @description Relative to the resource, like prefix */
            path: string;
            /** @description Bytes */
            size: number;
            /** @description The storage class in S3. Files in GLACIER and DEEP_ARCHIVE must be restored before you can read them */
            storageClass: string | null;
            uri: string;
        };
        FilePreview: {
            /** @description Text; for images base64 */
            content: string;
            /** @description By the content, not by the name */
            contentType: string;
            /** @enum {string} */
            encoding: "text" | "base64";
            /** @description Whether the text goes on */
            isTruncated: boolean;
            /** @enum {string} */
            kind: "text" | "csv" | "json" | "image";
            /** Format: date-time */
            lastModified: string | null;
            path: string;
            /** @description Bytes of the whole file */
            size: number;
        };
        FilterField: {
            description: string;
            /** @description Whether orderBy takes it */
            isSortable: boolean;
            /** @description Whether filter-values lists the values that occur */
            listsValues: boolean;
            /** @description The keyword */
            name: string;
            operators: (":" | "!=" | ">=" | "<=" | ">" | "<")[];
            /** @enum {string} */
            type: "text" | "id" | "status" | "choice" | "time" | "number" | "boolean";
            /** @description All values; empty where they are not finite */
            values: string[];
        };
        Flow: {
            acceptFailedOutcome: boolean;
            acceptStoppedOutcome: boolean;
            acceptUnverified: boolean;
            autoStart: {
                /** @description Only runs of these instruments start the flow. * matches any characters */
                instruments?: string[];
                /** @description Only runs with these names start the flow. * matches any characters */
                runNames?: string[];
                /** @description Complete runs in these storage connections start the flow automatically */
                storageConnectionIds: string[];
            };
            computeConnectionId: string;
            id: string;
            name: string;
            /** @description Names of the workflow parameters that polony sets. For a name that you omit, polony looks for a known name in the parameter template of the workflow */
            parameterNames: {
                noProjects?: string;
                runDir?: string;
                runManifest?: string;
            };
            /** @description Values of further workflow parameters, which must be in its parameter template */
            parameters: {
                [key: string]: unknown;
            };
            /** @description How HealthOmics runs the flow */
            runSettings: {
                /** @enum {string} */
                cacheBehavior?: "CACHE_ON_FAILURE" | "CACHE_ALWAYS";
                /** @description ID of the HealthOmics run cache */
                cacheId?: string;
                /** @enum {string} */
                logLevel?: "OFF" | "FATAL" | "ERROR" | "ALL";
                /**
                 * @description What happens when the run manifest has errors. block (the default): the execution waits for you. warn: polony reports the errors and starts the run, and Bases2Fastq decides
                 * @enum {string}
                 */
                manifestErrors?: "block" | "warn";
                /** @description Priority in the run group. Higher values start first */
                priority?: number;
                /** @enum {string} */
                retentionMode?: "RETAIN" | "REMOVE";
                /** @description How often polony restarts a HealthOmics run that failed for a transient reason. The default is 2 */
                retries?: number;
                /** @description ID of the HealthOmics run group, whose limits apply to the runs */
                runGroupId?: string;
                /** @description Size of the STATIC storage, in GiB */
                storageCapacity?: number;
                /** @enum {string} */
                storageType?: "DYNAMIC" | "STATIC";
                /** @description Tags of the HealthOmics runs, in addition to the tags that polony sets */
                tags?: {
                    [key: string]: string;
                };
                /** @description Version of the shared workflow */
                workflowVersionName?: string;
            };
            sharedWorkflowId: string;
            sharedWorkflowRegion: string | null;
            /** @enum {string} */
            status: "FLOW_STATUS_UNSPECIFIED" | "FLOW_STATUS_CONNECTED" | "FLOW_STATUS_WARNING" | "FLOW_STATUS_FAILED";
            statusDescription: string;
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeUpdated: string;
            /** Format: date-time */
            timeUsed: string | null;
            /** Format: date-time */
            timeVerified: string | null;
            workflowOwnerId: string;
        };
        /** @description A policy statement whose Sid looks like one of polony, but that belongs to no grant */
        ForeignStatement: {
            principal: string | null;
            sid: string;
            /** @description A statement of the bucket policy */
            statement: {
                [key: string]: unknown;
            };
        };
        /** @description What the principal needs beside the grant to read the bucket */
        GrantWarning: {
            /** @enum {string} */
            code: "KMS_KEY" | "KMS_KEY_OF_AWS" | "ENCRYPTION_NOT_CHECKED";
            /** @description The KMS key, as the bucket names it. Null if it is unknown, or the key that AWS manages */
            key: string | null;
            message: string;
            /** @description A statement for the policy of the key */
            statement: {
                [key: string]: unknown;
            } | null;
        };
        /** @description A folder that looks like a run, and that polony ignores */
        IgnoredFolder: {
            /** @description The path below the prefix of the storage connection */
            folder: string;
            /** @description Why polony ignores the folder, and what you can do */
            message: string;
            /** @enum {string} */
            reason: "NAME_FORM" | "DATE" | "OTHER_INSTRUMENT" | "DEPTH" | "TOO_LONG" | "EXECUTIONS_FOLDER";
            uri: string;
        };
        /**
         * @example {
         *       "version": "0.1.0",
         *       "publicUrl": "https://polony.example.org",
         *       "trustedAccountId": "111122223333",
         *       "temporal": {
         *         "namespace": "default",
         *         "uiUrl": "https://temporal.example.org"
         *       },
         *       "auditsReads": false
         *     }
         */
        Installation: {
            /** @description Whether the audit log also has requests that only read */
            auditsReads: boolean;
            /** @description Where clients reach the API, if the installation says so */
            publicUrl: string | null;
            temporal: {
                namespace: string;
                uiUrl: string | null;
            };
            /** @description The AWS account that polony runs in. The roles of customers must trust it */
            trustedAccountId: string | null;
            version: string;
        };
        /**
         * @example {
         *       "serialNumber": "AV240001",
         *       "name": "AV240001",
         *       "model": "AVITI",
         *       "status": "INSTRUMENT_STATUS_ACTIVE",
         *       "timeCreated": "2026-01-10T09:00:00.000Z",
         *       "timeUpdated": "2026-01-16T04:00:00.000Z",
         *       "timeLastConnected": "2026-01-16T04:00:00.000Z",
         *       "softwareVersion": "3.2.1"
         *     }
         */
        Instrument: {
            model: string;
            name: string;
            serialNumber: string;
            softwareVersion: string | null;
            /** @enum {string} */
            status: "INSTRUMENT_STATUS_UNSPECIFIED" | "INSTRUMENT_STATUS_ACTIVE" | "INSTRUMENT_STATUS_INACTIVE" | "INSTRUMENT_STATUS_DECOMMISSIONED";
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeLastConnected: string | null;
            /** Format: date-time */
            timeUpdated: string;
        };
        InstrumentMetrics: {
            /** @description Phred score */
            avgQ: number | null;
            /** @description Percent */
            errorRate: number | null;
            kitName: string | null;
            /** @description Percent of the polonies, from the execution that completed last. Only with the scope executions:read */
            percentAssigned: number | null;
            /** @description Percent */
            phixAlignmentRate: number | null;
            polonyDensity: string | null;
            /** @description Percent */
            q30: number | null;
            /** @description Percent */
            q40: number | null;
            /** @description Percent */
            q50: number | null;
            runId: string;
            runName: string;
            side: string | null;
            softwareVersion: string | null;
            /** @description The status of the run, as GET /v1/runs/{id} shows it */
            status: string;
            /**
             * Format: date-time
             * @description When the run started; else when polony found it
             */
            time: string;
            /** Format: date-time */
            timeCompleted: string | null;
            /** @description Polonies that pass the filter */
            totalReads: number | null;
            /** @description Bases */
            totalYield: number | null;
        };
        InstrumentSeries: {
            /** @description The files that were read, and why others were not */
            files: components["schemas"]["SeriesFile"][];
            indexAssignment: {
                /** @description Whether the file has more rows */
                isTruncated: boolean;
                /**
                 * @description What the percentages of rows of a single lane are shares of. Those of rows for 1+2 are shares of the run. null: the file does not show it
                 * @enum {string|null}
                 */
                percentOf: "run" | "lane" | null;
                rows: {
                    index1: string;
                    index2: string;
                    /** @description 1, 2 or 1+2. Rows for 1+2 are the sum of the others */
                    lane: string;
                    /** @description Percent: see percentOf */
                    percent: number | null;
                    /** @description Percent of its polonies whose index differs from that of the sample */
                    percentMismatch: number | null;
                    /** @description Percent of its polonies whose index is that of the sample */
                    percentPerfect: number | null;
                    polonies: number;
                    sampleName: string;
                    /** @description As the file counts samples */
                    sampleNumber: number | null;
                    /** @description Bases */
                    yield: number | null;
                }[];
            } | null;
            lanes: {
                /** @description Bases of assigned polonies */
                assignedYield: number | null;
                /** @description Mean over the cycles, in percent of the PhiX bases */
                errorRate: number | null;
                lane: number;
                /** @description Percent of the polonies that belong to a sample */
                percentAssigned: number | null;
                /** @description Percent of the assigned polonies whose index differs from that of the sample */
                percentMismatch: number | null;
                /** @description Percent. Only in the series of the instrument */
                percentPassingFilter: number | null;
                /** @description Percent */
                percentQ30: number | null;
                /** @description Percent */
                percentQ40: number | null;
                /** @description In the series of the instrument, also polonies that do not pass the filter */
                polonies: number | null;
                /** @description Only in the series of the instrument */
                poloniesPassingFilter: number | null;
                /** @description Phred score */
                qualityScoreMean: number | null;
                reads: components["schemas"]["ReadSeries"][];
                /** @description Bases */
                yield: number | null;
            }[];
            samples: {
                /** @description Percent of its polonies whose index differs from that of the sample */
                percentMismatch: number | null;
                /** @description Percent */
                percentQ30: number | null;
                /** @description Percent */
                percentQ40: number | null;
                /** @description Assigned polonies */
                polonies: number | null;
                /** @description Phred score */
                qualityScoreMean: number | null;
                sampleName: string;
                /** @description As the file counts samples */
                sampleNumber: number | null;
                /** @description Bases */
                yield: number | null;
            }[];
            /** @description Version of Bases2Fastq */
            softwareVersion: string | null;
            totals: {
                /** @description Bases of assigned polonies */
                assignedYield: number | null;
                /** @description Mean over the cycles, in percent of the PhiX bases */
                errorRate: number | null;
                /** @description Percent of the polonies that belong to a sample */
                percentAssigned: number | null;
                /** @description Percent of the assigned polonies whose index differs from that of the sample */
                percentMismatch: number | null;
                /** @description Percent. Only in the series of the instrument */
                percentPassingFilter: number | null;
                /** @description Percent */
                percentQ30: number | null;
                /** @description Percent */
                percentQ40: number | null;
                /** @description In the series of the instrument, also polonies that do not pass the filter */
                polonies: number | null;
                /** @description Only in the series of the instrument */
                poloniesPassingFilter: number | null;
                /** @description Phred score */
                qualityScoreMean: number | null;
                reads: components["schemas"]["ReadSeries"][];
                /** @description Bases */
                yield: number | null;
            } | null;
            unassignedSequences: {
                isTruncated: boolean;
                /**
                 * @description What the percentages of rows of a single lane are shares of. Those of rows for 1+2 are shares of the run. null: the file does not show it
                 * @enum {string|null}
                 */
                percentOf: "run" | "lane" | null;
                /** @description For each lane, at most 100, those with the most polonies first */
                rows: {
                    index1: string;
                    index2: string;
                    /** @description 1, 2 or 1+2. Rows for 1+2 are the sum of the others */
                    lane: string;
                    /** @description Percent: see percentOf */
                    percent: number | null;
                    polonies: number;
                }[];
            } | null;
            /** @description What is wrong with single values, which are null */
            warnings: string[];
        };
        ManifestCheck: {
            errors: components["schemas"]["ManifestFinding"][];
            /** @description How many findings are not listed */
            more: number;
            /** @description How many sample names the manifest has */
            samples: number;
            /** @enum {string} */
            source: "run" | "text" | "uri";
            /** @description Whether an execution with this manifest would not start */
            stops: boolean;
            warnings: components["schemas"]["ManifestFinding"][];
        };
        ManifestFinding: {
            /** @description Counted from 1 */
            column?: number;
            /** @description Counted from 1 */
            line?: number;
            message: string;
            /** @description For programs, such as index-length */
            rule: string;
        };
        Output: {
            kinds: string[];
            storageConnectionId: string;
            /** @description Empty, or an S3 URI that ends with a slash */
            uri: string;
        };
        Provider: {
            accessKeyId: string | null;
            accountId: string | null;
            /** @enum {string} */
            credentialType: "role" | "accessKeys";
            defaultRegion: string;
            externalId: string | null;
            id: string;
            /** @description Whether the last verification could assume the role without its external ID, or none could test that. polony then uses the role only after a test shows that it is closed */
            isRoleOpen: boolean;
            name: string;
            roleArn: string | null;
            /** @description Length of the sessions that AWS granted at the last verification, in seconds */
            sessionSeconds: number | null;
            /** @enum {string} */
            status: "PROVIDER_STATUS_UNSPECIFIED" | "PROVIDER_STATUS_CONNECTED" | "PROVIDER_STATUS_WARNING" | "PROVIDER_STATUS_FAILED";
            statusDescription: string;
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeUpdated: string;
            /** Format: date-time */
            timeUsed: string | null;
            /** Format: date-time */
            timeVerified: string | null;
            type: string;
            /** @description What somebody should improve */
            warnings: components["schemas"]["ProviderWarning"][];
        };
        ProviderWarning: {
            code: string;
            message: string;
            remedy: string;
        };
        ReadSeries: {
            cycles: components["schemas"]["CycleSeries"];
            /** @description Mean over the cycles, in percent of the PhiX bases */
            errorRate: number | null;
            /** @description Percent */
            percentQ30: number | null;
            /** @description Percent */
            percentQ40: number | null;
            /** @description Percent */
            phixAlignmentRate: number | null;
            /** @description Phred score */
            qualityScoreMean: number | null;
            /** @description R1, R2, I1 or I2 */
            read: string;
        };
        Run: {
            description: string;
            design: null;
            id: string;
            /** @description The instrument at the time of the run */
            instrument: {
                id: string;
                model: string;
                name: string;
                serialNumber: string;
                softwareVersion: string;
            };
            manifest: {
                downloadUrl?: string;
                filename: string;
            } | null;
            metrics: {
                multiomics: null;
                /** @description As the instrument measured them (AvitiRunStats.json). Metrics that it lacks come from the execution that completed last */
                sequencing: {
                    avgQ?: number;
                    /** @description Percent */
                    errorRate?: number;
                    /** @description Percent */
                    phixAlignmentRate?: number;
                    /** @description Percent */
                    q30?: number;
                    /** @description Percent */
                    q40?: number;
                    /** @description Percent */
                    q50?: number;
                    totalReads?: number;
                    /** @description Bases */
                    totalYield?: number;
                } | null;
            };
            name: string;
            operator: string;
            output: components["schemas"]["Output"];
            recipe: {
                id: string;
                name: string;
            } | null;
            setup: {
                multiomics: {
                    buffer: components["schemas"]["Consumable"] | null;
                    flowcell: components["schemas"]["Consumable"] | null;
                    kitType: string;
                    panel: {
                        id: string;
                        name: string;
                        version: string;
                    };
                    panelCartridge: components["schemas"]["Consumable"] | null;
                    wellLayout: string;
                } | null;
                sequencing: {
                    buffer: components["schemas"]["Consumable"] | null;
                    chemistryVersion: string;
                    filterMask: string | null;
                    flowcell: components["schemas"]["Consumable"] | null;
                    kitName: string;
                    /** @description circular or linear */
                    libraryStructure: string;
                    lowDiversity: boolean;
                    panel: {
                        id: string;
                        name: string;
                        version: string;
                    } | null;
                    polonyDensity: string | null;
                    prepType: string;
                    reads: {
                        cycles: number;
                        name: string;
                        order: number;
                    }[];
                    sequencingCartridge: components["schemas"]["Consumable"] | null;
                } | null;
            };
            /** @enum {string} */
            status: "RUN_STATUS_UNSPECIFIED" | "RUN_STATUS_CREATED" | "RUN_STATUS_PRIMING" | "RUN_STATUS_PRIMED" | "RUN_STATUS_SEQUENCING" | "RUN_STATUS_RUNNING" | "RUN_STATUS_PAUSING" | "RUN_STATUS_PAUSED" | "RUN_STATUS_STOPPING" | "RUN_STATUS_SEQUENCED" | "RUN_STATUS_COMPLETED" | "RUN_STATUS_FAILED" | "RUN_STATUS_STOPPED" | "RUN_STATUS_DISCARDED";
            tags: string[];
            /** Format: date-time */
            timeCompleted: string | null;
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeStarted: string | null;
            /** Format: date-time */
            timeUpdated: string | null;
            /** @description sequencing or multiomics */
            type: string;
        };
        RunDetails: {
            blocked: components["schemas"]["Blocked"] | null;
            /** Format: date-time */
            blockedSince: string | null;
            /** @enum {string} */
            checked: "content" | "presence";
            outcome: string | null;
            progress: {
                bytes: number;
                /** @description How many of the expected cycle files in BaseCalls exist */
                cycles: number;
                expectedCycles: number;
                /** @description The first 20 files that are absent or empty */
                missing?: string[];
                missingCount?: number;
                objects: number;
                stalled: boolean;
                /** Format: date-time */
                timeGrown: string;
            } | null;
            runFolder: string;
            uploadDescription: string;
            /** @enum {string} */
            uploadState: "uploading" | "complete" | "refused" | "vanished";
            /** @description What may go wrong with this run later. polony blocks nothing because of it */
            warnings: components["schemas"]["RunWarning"][];
            /** @description The workflow ID in Temporal */
            workflowId: string;
        };
        RunWarning: {
            /** @description For programs, such as RUN_PATH_CHARACTERS */
            code: string;
            message: string;
        };
        /**
         * @example {
         *       "region": "us-west-2",
         *       "bucket": "lab-aviti",
         *       "prefix": "runs/AV240001/20260115_AV240001_NA12878/",
         *       "accessKeyId": "ASIAIOSFODNN7EXAMPLE",
         *       "secretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
         *       "sessionToken": "IQoJb3JpZ2luX2VjEXAMPLE",
         *       "expiration": "2026-01-16T10:00:00.000Z"
         *     }
         */
        S3Credentials: {
            accessKeyId: string;
            bucket: string;
            /** Format: date-time */
            expiration: string;
            /** @description The beginning of all keys that the credentials cover; null for all keys of the bucket */
            prefix: string | null;
            region: string;
            secretAccessKey: string;
            sessionToken: string;
        };
        SeriesFile: {
            /** Format: date-time */
            lastModified: string | null;
            /** @description Why the file was not read, and what to do */
            message: string;
            name: string;
            /** @description Bytes */
            size: number | null;
            /** @enum {string} */
            state: "read" | "missing" | "archived" | "denied" | "damaged" | "too_large" | "not_shown" | "unavailable";
            uri: string | null;
        };
        /**
         * @example {
         *       "kind": "key",
         *       "id": "01920000-0000-7000-8000-000000000004",
         *       "name": "rosalind",
         *       "email": null,
         *       "scopes": [
         *         "runs:read",
         *         "executions:*"
         *       ],
         *       "timeExpires": "2026-01-10T21:00:00.000Z",
         *       "csrfToken": "iXqWpFS0Kiz3F0zVjlJzVq4ncd4gXXyXjvGSbdGzKRg"
         *     }
         */
        Session: {
            /** @description The value of the header x-csrf-token. Null for a request with an API key or a token */
            csrfToken: string | null;
            email: string | null;
            /** @description As in the audit log */
            id: string;
            /** @enum {string} */
            kind: "key" | "root" | "person";
            /** @description Only the id is certain */
            name: string;
            /** @description As they were given: `*` stands for everything */
            scopes: string[];
            /**
             * Format: date-time
             * @description When the access ends. Null for the key of the installation
             */
            timeExpires: string | null;
        };
        /**
         * @example {
         *       "id": "01920000-0000-7000-8000-000000000001",
         *       "name": "aviti-runs",
         *       "type": "s3",
         *       "status": "STORAGE_CONNECTION_STATUS_CONNECTED",
         *       "uri": "s3://lab-aviti/runs",
         *       "timeCreated": "2026-01-10T09:00:00.000Z",
         *       "timeUpdated": "2026-01-10T09:00:00.000Z"
         *     }
         */
        StorageConnection: {
            id: string;
            name: string;
            /** @enum {string} */
            status: "STORAGE_CONNECTION_STATUS_UNSPECIFIED" | "STORAGE_CONNECTION_STATUS_CONNECTED" | "STORAGE_CONNECTION_STATUS_WARNING" | "STORAGE_CONNECTION_STATUS_FAILED";
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeUpdated: string;
            type: string;
            uri: string;
        };
        StorageConnectionDetails: {
            allowPolicyProbe: boolean;
            bucket: string;
            prefix: string;
            providerId: string;
            region: string;
            runDepth: number;
            statusDescription: string;
            /** Format: date-time */
            timeUsed: string | null;
            /** Format: date-time */
            timeVerified: string | null;
            useForDataExploration: boolean;
            useForRunUpload: boolean;
        };
        Verification: {
            capabilities: {
                /** @enum {string} */
                capability: "runUpload" | "dataExploration" | "bases2fastq" | "sharing" | "cliCredentials";
                /** @description Permissions that are denied */
                missing: string[];
                /** @enum {string} */
                state: "ready" | "limited" | "notReady";
                /** @description Permissions that polony could not test yet */
                unknown: string[];
            }[];
            description: string;
            findings: {
                code: string;
                message: string;
                remedy: string;
                /** @enum {string} */
                severity: "error" | "warning" | "info";
            }[];
            identity: {
                accountId: string;
                arn: string;
            } | null;
            /** @enum {string} */
            kind: "provider" | "storageConnection" | "computeConnection" | "flow";
            /** @description In the report of a provider: the provider, connections and flows that it combines */
            parts: {
                description: string;
                id: string;
                /** @enum {string} */
                kind: "provider" | "storageConnection" | "computeConnection" | "flow";
                name: string;
                status: string;
                /** Format: date-time */
                timeCompleted: string;
            }[];
            permissions: {
                action: string;
                /** @description Capabilities that need this permission, fully or in part */
                capabilities: string[];
                /** @description How polony tested the permission, or why it did not */
                detail: string;
                /** @description The error that AWS returned */
                error: {
                    code: string;
                    message: string;
                } | null;
                /** @description In the report of a provider: the name of the provider, connection or flow with this result */
                of: string | null;
                purpose: string;
                /** @description What to do about a denial, by the reason that AWS gives. Null if AWS denied nothing */
                remedy: string | null;
                /** @enum {string} */
                requirement: "required" | "optional";
                resource: string;
                /** @enum {string} */
                result: "granted" | "denied" | "unknown";
                /** @description The smallest policy statement that grants the permission. Null if it is granted, or if no Allow statement in the policy of the role or user can help */
                statement: unknown;
                unlocks: string;
            }[];
            resourceId: string;
            sessionSeconds: number | null;
            /** @enum {string} */
            status: "VERIFICATION_STATUS_CONNECTED" | "VERIFICATION_STATUS_WARNING" | "VERIFICATION_STATUS_FAILED";
            /** Format: date-time */
            timeCompleted: string;
            /** Format: date-time */
            timeStarted: string;
        };
        Webhook: {
            description: string;
            /** @description Why polony switched the webhook off */
            disabledReason: string | null;
            enabled: boolean;
            /** @description Empty: all events */
            eventTypes: ("run.uploading" | "run.stalled" | "run.resumed" | "run.blocked" | "run.unblocked" | "run.uploaded" | "run.failed" | "run.vanished" | "execution.untriggered" | "execution.initialized" | "execution.pending" | "execution.running" | "execution.completed" | "execution.failed" | "execution.canceled" | "execution.blocked" | "execution.unblocked" | "provider.credentials_changed" | "provider.created" | "provider.connected" | "provider.warning" | "provider.failed" | "provider.deleted" | "storage_connection.created" | "storage_connection.connected" | "storage_connection.warning" | "storage_connection.failed" | "storage_connection.deleted" | "compute_connection.created" | "compute_connection.connected" | "compute_connection.warning" | "compute_connection.failed" | "compute_connection.deleted" | "flow.created" | "flow.connected" | "flow.warning" | "flow.failed" | "flow.deleted")[];
            id: string;
            /** Format: date-time */
            timeCreated: string;
            /** Format: date-time */
            timeUpdated: string;
            url: string;
        };
        WebhookDelivery: {
            /** @description Attempts since the event or its last replay */
            attempts: number;
            data: {
                [key: string]: unknown;
            };
            /** @description The header webhook-id. It is the same for every webhook that receives the event and for every attempt */
            eventId: string;
            /** @enum {string} */
            eventType: "run.uploading" | "run.stalled" | "run.resumed" | "run.blocked" | "run.unblocked" | "run.uploaded" | "run.failed" | "run.vanished" | "execution.untriggered" | "execution.initialized" | "execution.pending" | "execution.running" | "execution.completed" | "execution.failed" | "execution.canceled" | "execution.blocked" | "execution.unblocked" | "provider.credentials_changed" | "provider.created" | "provider.connected" | "provider.warning" | "provider.failed" | "provider.deleted" | "storage_connection.created" | "storage_connection.connected" | "storage_connection.warning" | "storage_connection.failed" | "storage_connection.deleted" | "compute_connection.created" | "compute_connection.connected" | "compute_connection.warning" | "compute_connection.failed" | "compute_connection.deleted" | "flow.created" | "flow.connected" | "flow.warning" | "flow.failed" | "flow.deleted" | "webhook.test";
            id: string;
            lastError: string | null;
            /** @description The HTTP status of the last attempt; null if the receiver did not answer */
            lastStatus: number | null;
            replays: number;
            /** @description A later event about the same resource has a higher number. Numbers can be missing */
            sequence: number;
            /** @enum {string} */
            state: "pending" | "retrying" | "delivered" | "failed";
            /** Format: date-time */
            timeEnded: string | null;
            /** Format: date-time */
            timeEvent: string;
            /** Format: date-time */
            timeNext: string | null;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    Health_Live: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The process is alive */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        status: string;
                    };
                };
            };
        };
    };
    Health_Ready: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description All parts are ready */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        database: string;
                        status: string;
                        temporal: string;
                    };
                };
            };
            /** @description A part is not ready */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        database: string;
                        status: string;
                        temporal: string;
                    };
                };
            };
        };
    };
    AuthService_ListApiKeys: {
        parameters: {
            query?: {
                /** @description The default is 100. More than 1,000 counts as 1,000 */
                pageSize?: number;
                /** @description nextPageToken or previousPageToken of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description One page of API keys */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        apiKeys: components["schemas"]["ApiKey"][];
                        nextPageToken: string;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    AuthService_CreateApiKey: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "lims",
                 *       "scopes": [
                 *         "runs:read",
                 *         "executions:read",
                 *         "executions:create"
                 *       ],
                 *       "expiresInDays": 90
                 *     }
                 */
                "application/json": {
                    /** @description The default is 30 */
                    expiresInDays?: number;
                    /** @description Unique among active keys, 1 to 128 characters */
                    name: string;
                    /** @description Each is resource:action, resource:action:id, storage:action:id/prefix/, resource:* or *. You can grant only scopes that you have yourself. An ID must be that of an existing resource */
                    scopes: string[];
                };
            };
        };
        responses: {
            /** @description The new API key */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        apiKey: components["schemas"]["ApiKey"];
                        /** @description The key. You cannot get it again */
                        key: string;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    AuthService_GetApiKey: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The API key */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        apiKey: components["schemas"]["ApiKey"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    AuthService_DeleteApiKey: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    AuthService_RevokeApiKey: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The revoked API key, which no longer works */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        apiKey: components["schemas"]["ApiKey"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    AuthService_RotateApiKey: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "graceHours": 24
                 *     }
                 */
                "application/json": {
                    /** @description The default is the number of days that the old key was created for */
                    expiresInDays?: number;
                    /** @description How long the old key still works. 0 revokes it immediately. The default is 24 */
                    graceHours?: number;
                };
            };
        };
        responses: {
            /** @description The new API key */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        apiKey: components["schemas"]["ApiKey"];
                        /** @description The key. You cannot get it again */
                        key: string;
                        replaced: components["schemas"]["ApiKey"];
                        /** @description Says that the new key expires earlier than you asked, and why */
                        warnings: string[];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    AuditService_ListAuditLog: {
        parameters: {
            query?: {
                /** @description An operationId, such as ExecutionService_CancelExecution */
                action?: string;
                callerId?: string;
                /** @description The default is 100, the maximum 1,000 */
                pageSize?: number;
                /** @description nextPageToken or previousPageToken of another page of this list */
                pageToken?: string;
                requestId?: string;
                resourceId?: string;
                /** @description Only entries at or after this time */
                since?: string;
                /** @description Only entries before this time */
                until?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description One page of the audit log */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        entries: components["schemas"]["AuditEntry"][];
                        nextPageToken: string;
                        previousPageToken: string;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    AuditService_ExportAuditLog: {
        parameters: {
            query?: {
                /** @description An operationId, such as ExecutionService_CancelExecution */
                action?: string;
                callerId?: string;
                requestId?: string;
                resourceId?: string;
                /** @description Only entries at or after this time */
                since?: string;
                /** @description Only entries before this time */
                until?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The entries */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/csv": string;
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    AuthService_GetAuth: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The credentials are valid */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        scopes: string[];
                        tenantId: string;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ChangeService_WatchChanges: {
        parameters: {
            query: {
                /** @description Only this execution. Verifications stay */
                executionId?: string;
                /** @description Only this run and its executions. Verifications stay */
                runId?: string;
                /**
                 * @description Separated by commas: runs, executions, verifications
                 * @example runs,executions
                 */
                topics: string;
            };
            header?: {
                /** @description The ID of the last event that you received */
                "last-event-id"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The stream */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/event-stream": string;
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ComputeConnectionService_ListComputeConnections: {
        parameters: {
            query?: {
                /** @description The default is 100, the maximum 1,000 */
                pageSize?: number;
                /** @description nextPageToken or previousPageToken of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description One page of compute connections */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        computeConnections: components["schemas"]["ComputeConnection"][];
                        nextPageToken: string;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ComputeConnectionService_CreateComputeConnection: {
        parameters: {
            query?: never;
            header?: {
                /** @description Makes the request safe to repeat. 1 to 255 printable ASCII characters. For 24 hours, repeating the request with this key returns the first response. */
                "idempotency-key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "healthomics",
                 *       "providerId": "01920000-0000-7000-8000-000000000000",
                 *       "executionRoleArn": "arn:aws:iam::111122223333:role/omics-execution",
                 *       "region": "us-west-2"
                 *     }
                 */
                "application/json": {
                    /** @description A role of the provider's account that trusts omics.amazonaws.com. HealthOmics runs use it */
                    executionRoleArn: string;
                    /** @description Unique, 1 to 128 characters */
                    name: string;
                    providerId: string;
                    /** @description A region of AWS HealthOmics */
                    region: string;
                };
            };
        };
        responses: {
            /** @description The new compute connection */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        computeConnection: components["schemas"]["ComputeConnection"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The Idempotency-Key was used for a different request */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ComputeConnectionService_GetComputeConnection: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The compute connection */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        computeConnection: components["schemas"]["ComputeConnection"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ComputeConnectionService_DeleteComputeConnection: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ComputeConnectionService_UpdateComputeConnection: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "executionRoleArn": "arn:aws:iam::111122223333:role/omics-execution-2"
                 *     }
                 */
                "application/json": {
                    /** @description A role of the provider's account that trusts omics.amazonaws.com. HealthOmics runs use it */
                    executionRoleArn?: string;
                    /** @description Unique, 1 to 128 characters */
                    name?: string;
                    providerId?: string;
                    /** @description A region of AWS HealthOmics */
                    region?: string;
                };
            };
        };
        responses: {
            /** @description The changed compute connection */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        computeConnection: components["schemas"]["ComputeConnection"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ComputeConnectionService_GetComputeConnectionVerification: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The report */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        verification: components["schemas"]["Verification"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ComputeConnectionService_VerifyComputeConnection: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The Temporal workflows that verify it have started */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        workflowIds: string[];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    EventService_TakeEvent: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "source": "aws.s3",
                 *       "detail-type": "Object Created",
                 *       "account": "111122223333",
                 *       "region": "us-west-2",
                 *       "detail": {
                 *         "bucket": {
                 *           "name": "lab-aviti"
                 *         },
                 *         "object": {
                 *           "key": "runs/AV240001/20260115_AV240001_RUN/RunUploaded.json",
                 *           "size": 212
                 *         }
                 *       }
                 *     }
                 */
                "application/json": {
                    detail: {
                        [key: string]: unknown;
                    };
                    "detail-type": string;
                    source: string;
                } & {
                    [key: string]: unknown;
                };
            };
        };
        responses: {
            /** @description Accepted */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        accepted: boolean;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_ListExecutions: {
        parameters: {
            query?: {
                /**
                 * @description Terms of the form keyword:value, separated by spaces. All terms must match. Separate alternative values with commas. Instead of the colon you can use >=, <=, >, < and !=. Unknown values never match : and always match !=. Text without a keyword matches all string fields. Quotes make a value exact. Dates are ISO 8601, or a time ago such as 7d
                 * @example status:failed time_completed>=7d
                 */
                filter?: string;
                includeTotalCount?: boolean;
                /**
                 * @description One of time_created, time_started, time_completed, time_updated, name, status, flow.name, input.run.name, started_by, and " desc" for the opposite direction. Unknown numbers and times count as the lowest. The default is newest first
                 * @example time_created desc
                 */
                orderBy?: string;
                /** @description The default is 100, the maximum 1,000 */
                pageSize?: number;
                /** @description nextPageToken or previousPageToken of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page of executions */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        executions: components["schemas"]["Execution"][];
                        nextPageToken: string;
                        previousPageToken: string;
                        totalCount?: number;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_CreateExecution: {
        parameters: {
            query?: never;
            header?: {
                /** @description Makes the request safe to repeat. 1 to 255 printable ASCII characters. For 24 hours, repeating the request with this key returns the first response. */
                "idempotency-key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "flowId": "01920000-0000-7000-8000-000000000002",
                 *       "runId": "01920000-0000-7000-8000-000000000003"
                 *     }
                 */
                "application/json": {
                    flowId: string;
                    /** @description A run manifest that this execution uses instead of the run's own */
                    manifest?: {
                        /** @description The text of RunManifest.csv */
                        content: string;
                    } | {
                        /** @description The S3 URI of a manifest in the run's storage connection */
                        uri: string;
                    };
                    /** @description 1 to 128 characters. The default is the name of the flow and the name of the run */
                    name?: string;
                    /** @description Parameters of the workflow's template. They override those of the flow. At most 50,000 characters as JSON */
                    parameters?: {
                        [key: string]: unknown;
                    };
                    /** @description Instead of runId: the S3 URI of a run folder anywhere in a storage connection. It needs the scope storage:download for this folder. polony adds it as a run and checks it like any other run. Its files are shown when RunParameters.json has proved that it is one */
                    runFolderUri?: string;
                    runId?: string;
                };
            };
        };
        responses: {
            /** @description Accepted */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        execution: components["schemas"]["Execution"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The Idempotency-Key was used for a different request */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_GetExecutionDownloadCredentials: {
        parameters: {
            query?: {
                /** @description The default, also for 0, is 3600. The minimum is 900. The maximum is what the provider's role allows, or 129600 with access keys */
                expirationSeconds?: number;
                /**
                 * @description The beginning of the paths, relative to the resource
                 * @example BaseCalls/
                 */
                prefix?: string;
            };
            header?: never;
            path: {
                execution_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The credentials */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        s3: components["schemas"]["S3Credentials"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_ListExecutionFiles: {
        parameters: {
            query?: {
                /** @description The default is 3,600. A URL also expires when the AWS session that signed it does: its X-Amz-Expires has the real value */
                downloadUrlExpirationSeconds?: number;
                /** @description With includeDownloadUrl: you must send the header x-amz-checksum-mode: ENABLED with the GET, and S3 responds with the checksum if it has one */
                includeDownloadChecksum?: boolean;
                /** @description Whether each file comes with a download URL. The URL works without a key */
                includeDownloadUrl?: boolean;
                /** @description The default is 1,000 */
                pageSize?: number;
                /** @description nextPageToken of the previous page, with the same prefix and recursive */
                pageToken?: string;
                /**
                 * @description The beginning of the paths, relative to the resource
                 * @example BaseCalls/
                 */
                prefix?: string;
                /** @description Whether to list the files of subfolders too. The default is true */
                recursive?: boolean;
            };
            header?: never;
            path: {
                execution_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page of files */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        files: components["schemas"]["File"][];
                        isTruncated: boolean;
                        nextPageToken: string;
                        subdirectories: string[];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_GetExecutionDownloadUrl: {
        parameters: {
            query: {
                /** @description Whether a browser saves the file (attachment, the default) or displays it (inline) */
                disposition?: "attachment" | "inline";
                /** @description The default is 3,600. See X-Amz-Expires of the URL */
                expirationSeconds?: number;
                /**
                 * @description Path of the file, relative to the resource
                 * @example RunParameters.json
                 */
                path: string;
            };
            header?: never;
            path: {
                execution_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The URL */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description How long the URL is valid: at most as long as the AWS session */
                        expirationSeconds: number;
                        url: string;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_PreviewExecutionFile: {
        parameters: {
            query: {
                /**
                 * @description Path of the file, relative to the resource
                 * @example RunParameters.json
                 */
                path: string;
            };
            header?: never;
            path: {
                execution_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The preview */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        preview: components["schemas"]["FilePreview"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_GetExecutionReport: {
        parameters: {
            query: {
                /**
                 * @description Path of the file, relative to the resource
                 * @example RunParameters.json
                 */
                path: string;
            };
            header?: never;
            path: {
                execution_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The report */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/html": string;
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_GetExecutionLogs: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                execution_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The log */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        error: string;
                        log: string;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_GetExecution: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The execution */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        execution: components["schemas"]["Execution"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_CancelExecution: {
        parameters: {
            query?: never;
            header?: {
                /** @description Makes the request safe to repeat. 1 to 255 printable ASCII characters. For 24 hours, repeating the request with this key returns the first response. */
                "idempotency-key"?: string;
            };
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "reason": "wrong run manifest"
                 *     }
                 */
                "application/json": {
                    reason?: string;
                };
            };
        };
        responses: {
            /** @description polony cancels the execution */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        execution: components["schemas"]["Execution"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The Idempotency-Key was used for a different request */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_GetExecutionDetails: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The execution and its details */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        details: components["schemas"]["ExecutionDetails"];
                        execution: components["schemas"]["Execution"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_WatchExecution: {
        parameters: {
            query?: never;
            header?: {
                /** @description The ID of the last event that you received */
                "last-event-id"?: string;
            };
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The stream */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/event-stream": string;
                };
            };
            /** @description Done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_RelaunchExecution: {
        parameters: {
            query?: never;
            header?: {
                /** @description Makes the request safe to repeat. 1 to 255 printable ASCII characters. For 24 hours, repeating the request with this key returns the first response. */
                "idempotency-key"?: string;
            };
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "manifest": {
                 *         "content": "[Samples]\nSampleName,Index1,Index2\nS1,ACGTACGT,TGCATGCA\n"
                 *       }
                 *     }
                 */
                "application/json": {
                    /** @description The default is the manifest of the repeated execution. null: the run's own manifest */
                    manifest?: ({
                        /** @description The text of RunManifest.csv */
                        content: string;
                    } | {
                        /** @description The S3 URI of a manifest in the run's storage connection */
                        uri: string;
                    }) | null;
                    /** @description 1 to 128 characters. The default is the name of the repeated execution with a number: b2f NA12878 (2) */
                    name?: string;
                    /** @description Parameters of the workflow's template. They override those of the flow. At most 50,000 characters as JSON */
                    parameters?: {
                        [key: string]: unknown;
                    };
                };
            };
        };
        responses: {
            /** @description Accepted */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        execution: components["schemas"]["Execution"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The Idempotency-Key was used for a different request */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_GetExecutionResults: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The files */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        files: {
                            key: string;
                            /** @description Bytes */
                            size: number;
                        }[];
                        isTruncated: boolean;
                        uri: string;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_RetryExecution: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description polony retries the execution */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        execution: components["schemas"]["Execution"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_GetExecutionSeries: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The series */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        series: components["schemas"]["ExecutionSeries"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_ListExecutionSteps: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The steps */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        blocked: components["schemas"]["Blocked"] | null;
                        /** Format: date-time */
                        blockedSince: string | null;
                        steps: {
                            /** @description The number of the HealthOmics run. The first is 1 */
                            attempt: number;
                            /** @enum {string} */
                            step: "ACCEPTED" | "WAITING_FOR_UPLOAD" | "PREPARING" | "QUEUED" | "STARTING" | "PENDING" | "RUNNING" | "READING_RESULTS" | "ENDED";
                            /** Format: date-time */
                            timeEnded: string | null;
                            /** Format: date-time */
                            timeStarted: string;
                            /** @description What the current step waits for; null for the other steps */
                            waitsFor: string | null;
                        }[];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_ListBlockedExecutions: {
        parameters: {
            query?: {
                /**
                 * @description Terms of the form keyword:value, separated by spaces. All terms must match. Separate alternative values with commas. Instead of the colon you can use >=, <=, >, < and !=. Unknown values never match : and always match !=. Text without a keyword matches all string fields. Quotes make a value exact. Dates are ISO 8601, or a time ago such as 7d
                 * @example status:failed time_completed>=7d
                 */
                filter?: string;
                includeTotalCount?: boolean;
                /**
                 * @description One of time_created, time_started, time_completed, time_updated, name, status, flow.name, input.run.name, started_by, and " desc" for the opposite direction. Unknown numbers and times count as the lowest. The default is newest first
                 * @example time_created desc
                 */
                orderBy?: string;
                /** @description The default is 100, the maximum 1,000 */
                pageSize?: number;
                /** @description nextPageToken or previousPageToken of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page of blocked executions */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        executions: {
                            blocked: components["schemas"]["Blocked"];
                            execution: components["schemas"]["Execution"];
                        }[];
                        nextPageToken: string;
                        previousPageToken: string;
                        totalCount?: number;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_CountExecutions: {
        parameters: {
            query?: {
                /**
                 * @description Terms of the form keyword:value, separated by spaces. All terms must match. Separate alternative values with commas. Instead of the colon you can use >=, <=, >, < and !=. Unknown values never match : and always match !=. Text without a keyword matches all string fields. Quotes make a value exact. Dates are ISO 8601, or a time ago such as 7d
                 * @example status:failed time_completed>=7d
                 */
                filter?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description How many executions have each status */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description How many of them wait for a person */
                        blocked: number;
                        counts: {
                            EXECUTION_STATUS_CANCELED: number;
                            EXECUTION_STATUS_COMPLETED: number;
                            EXECUTION_STATUS_FAILED: number;
                            EXECUTION_STATUS_INITIALIZED: number;
                            EXECUTION_STATUS_PENDING: number;
                            EXECUTION_STATUS_RUNNING: number;
                            EXECUTION_STATUS_UNTRIGGERED: number;
                        };
                        total: number;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_ListExecutionFilterFields: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The keywords */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        fields: components["schemas"]["FilterField"][];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ExecutionService_ListExecutionFilterValues: {
        parameters: {
            query: {
                /** @description A keyword of the filter whose values are texts */
                field: string;
                /** @description How the values begin, in any case */
                prefix?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The values */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description Whether there are more */
                        isTruncated: boolean;
                        /** @description At most 50, in alphabetical order */
                        values: string[];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    FlowService_ListFlows: {
        parameters: {
            query?: {
                /** @description The default is 100, the maximum 1,000 */
                pageSize?: number;
                /** @description nextPageToken or previousPageToken of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description One page of flows */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        flows: components["schemas"]["Flow"][];
                        nextPageToken: string;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    FlowService_CreateFlow: {
        parameters: {
            query?: never;
            header?: {
                /** @description Makes the request safe to repeat. 1 to 255 printable ASCII characters. For 24 hours, repeating the request with this key returns the first response. */
                "idempotency-key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "bases2fastq",
                 *       "computeConnectionId": "01920000-0000-7000-8000-000000000000",
                 *       "sharedWorkflowId": "1234567",
                 *       "workflowOwnerId": "588258415937",
                 *       "autoStart": {
                 *         "storageConnectionIds": [
                 *           "01920000-0000-7000-8000-000000000001"
                 *         ]
                 *       }
                 *     }
                 */
                "application/json": {
                    /** @description Whether the flow also analyses runs that the instrument ended as failed, if all their cycles exist. The default is false */
                    acceptFailedOutcome?: boolean;
                    /** @description Whether the flow also analyses runs that somebody stopped, with the cycles that exist. The default is false */
                    acceptStoppedOutcome?: boolean;
                    /** @description Whether the flow also analyses runs whose outcome and cycles polony cannot check, because the provider lacks the optional permission s3:GetObject. The default is true */
                    acceptUnverified?: boolean;
                    autoStart?: {
                        /** @description Only runs of these instruments start the flow. * matches any characters */
                        instruments?: string[];
                        /** @description Only runs with these names start the flow. * matches any characters */
                        runNames?: string[];
                        /** @description Complete runs in these storage connections start the flow automatically */
                        storageConnectionIds: string[];
                    };
                    computeConnectionId: string;
                    /** @description Unique, 1 to 128 characters */
                    name: string;
                    /** @description Names of the workflow parameters that polony sets. For a name that you omit, polony looks for a known name in the parameter template of the workflow */
                    parameterNames?: {
                        noProjects?: string;
                        runDir?: string;
                        runManifest?: string;
                    };
                    /** @description Values of further workflow parameters, which must be in its parameter template */
                    parameters?: {
                        [key: string]: unknown;
                    };
                    /** @description How HealthOmics runs the flow */
                    runSettings?: {
                        /** @enum {string} */
                        cacheBehavior?: "CACHE_ON_FAILURE" | "CACHE_ALWAYS";
                        /** @description ID of the HealthOmics run cache */
                        cacheId?: string;
                        /** @enum {string} */
                        logLevel?: "OFF" | "FATAL" | "ERROR" | "ALL";
                        /**
                         * @description What happens when the run manifest has errors. block (the default): the execution waits for you. warn: polony reports the errors and starts the run, and Bases2Fastq decides
                         * @enum {string}
                         */
                        manifestErrors?: "block" | "warn";
                        /** @description Priority in the run group. Higher values start first */
                        priority?: number;
                        /** @enum {string} */
                        retentionMode?: "RETAIN" | "REMOVE";
                        /** @description How often polony restarts a HealthOmics run that failed for a transient reason. The default is 2 */
                        retries?: number;
                        /** @description ID of the HealthOmics run group, whose limits apply to the runs */
                        runGroupId?: string;
                        /** @description Size of the STATIC storage, in GiB */
                        storageCapacity?: number;
                        /** @enum {string} */
                        storageType?: "DYNAMIC" | "STATIC";
                        /** @description Tags of the HealthOmics runs, in addition to the tags that polony sets */
                        tags?: {
                            [key: string]: string;
                        };
                        /** @description Version of the shared workflow */
                        workflowVersionName?: string;
                    };
                    /** @description The Resource ID of the share, or the ARN of the workflow */
                    sharedWorkflowId: string;
                    /** @description The AWS account that shares the workflow. You may omit it if sharedWorkflowId is the ARN of the workflow */
                    workflowOwnerId?: string;
                };
            };
        };
        responses: {
            /** @description The new flow */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        flow: components["schemas"]["Flow"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The Idempotency-Key was used for a different request */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    FlowService_GetFlow: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The flow */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        flow: components["schemas"]["Flow"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    FlowService_DeleteFlow: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    FlowService_UpdateFlow: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "autoStart": {
                 *         "storageConnectionIds": []
                 *       }
                 *     }
                 */
                "application/json": {
                    /** @description Whether the flow also analyses runs that the instrument ended as failed, if all their cycles exist. The default is false */
                    acceptFailedOutcome?: boolean;
                    /** @description Whether the flow also analyses runs that somebody stopped, with the cycles that exist. The default is false */
                    acceptStoppedOutcome?: boolean;
                    /** @description Whether the flow also analyses runs whose outcome and cycles polony cannot check, because the provider lacks the optional permission s3:GetObject. The default is true */
                    acceptUnverified?: boolean;
                    autoStart?: {
                        /** @description Only runs of these instruments start the flow. * matches any characters */
                        instruments?: string[];
                        /** @description Only runs with these names start the flow. * matches any characters */
                        runNames?: string[];
                        /** @description Complete runs in these storage connections start the flow automatically */
                        storageConnectionIds: string[];
                    };
                    computeConnectionId?: string;
                    /** @description Unique, 1 to 128 characters */
                    name?: string;
                    /** @description Names of the workflow parameters that polony sets. For a name that you omit, polony looks for a known name in the parameter template of the workflow */
                    parameterNames?: {
                        noProjects?: string;
                        runDir?: string;
                        runManifest?: string;
                    };
                    /** @description Values of further workflow parameters, which must be in its parameter template */
                    parameters?: {
                        [key: string]: unknown;
                    };
                    /** @description How HealthOmics runs the flow */
                    runSettings?: {
                        /** @enum {string} */
                        cacheBehavior?: "CACHE_ON_FAILURE" | "CACHE_ALWAYS";
                        /** @description ID of the HealthOmics run cache */
                        cacheId?: string;
                        /** @enum {string} */
                        logLevel?: "OFF" | "FATAL" | "ERROR" | "ALL";
                        /**
                         * @description What happens when the run manifest has errors. block (the default): the execution waits for you. warn: polony reports the errors and starts the run, and Bases2Fastq decides
                         * @enum {string}
                         */
                        manifestErrors?: "block" | "warn";
                        /** @description Priority in the run group. Higher values start first */
                        priority?: number;
                        /** @enum {string} */
                        retentionMode?: "RETAIN" | "REMOVE";
                        /** @description How often polony restarts a HealthOmics run that failed for a transient reason. The default is 2 */
                        retries?: number;
                        /** @description ID of the HealthOmics run group, whose limits apply to the runs */
                        runGroupId?: string;
                        /** @description Size of the STATIC storage, in GiB */
                        storageCapacity?: number;
                        /** @enum {string} */
                        storageType?: "DYNAMIC" | "STATIC";
                        /** @description Tags of the HealthOmics runs, in addition to the tags that polony sets */
                        tags?: {
                            [key: string]: string;
                        };
                        /** @description Version of the shared workflow */
                        workflowVersionName?: string;
                    };
                    /** @description The Resource ID of the share, or the ARN of the workflow */
                    sharedWorkflowId?: string;
                    /** @description The AWS account that shares the workflow. You may omit it if sharedWorkflowId is the ARN of the workflow */
                    workflowOwnerId?: string;
                };
            };
        };
        responses: {
            /** @description The changed flow */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        flow: components["schemas"]["Flow"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    FlowService_GetFlowVerification: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The report */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        verification: components["schemas"]["Verification"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    FlowService_VerifyFlow: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The Temporal workflows that verify it have started */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        workflowIds: string[];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    IamDocumentService_GetIamDocuments: {
        parameters: {
            query: {
                /** @description The customer's AWS account. The default is the account of executionRoleArn */
                accountId?: string;
                /** @description Repeat it for several buckets */
                bucket: string | string[];
                /** @description Any of runUpload, dataExploration, bases2fastq, sharing, cliCredentials. Repeat it, or separate values with commas. The default is all */
                capabilities?: string | string[];
                credentialType: "role" | "accessKeys";
                /** @description The ARN of the execution role, if you know it */
                executionRoleArn?: string;
                /** @description The external ID for a role. The default is a new random one */
                externalId?: string;
                /** @description One for all buckets, or one for each bucket in the same order, or several for one bucket */
                prefix?: string | string[];
                region?: string;
                /** @description vendor (the default): the vendor's templates. least: the same actions on as few resources as possible */
                variant?: "vendor" | "least";
                /** @description The Resource ID of the share, or the ARN of the workflow */
                workflowId?: string;
                /** @description The AWS account that shares the workflow */
                workflowOwnerId?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The documents */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description The same as shell commands for the AWS CLI */
                        awsCli: string;
                        /** @description The same as a CloudFormation template. It needs CAPABILITY_NAMED_IAM */
                        cloudFormation: string;
                        /** @description Null if you did not ask for the capability bases2fastq */
                        executionRole: {
                            /** @description The permissions that a HealthOmics run needs */
                            permissionPolicy: {
                                [key: string]: unknown;
                            };
                            /** @description Lets HealthOmics use the role */
                            trustPolicy: {
                                [key: string]: unknown;
                            };
                        } | null;
                        externalId: string | null;
                        /** @description Permission policy of the provider's role or user */
                        permissionPolicy: {
                            [key: string]: unknown;
                        };
                        /** @description The same for Terraform */
                        terraform: string;
                        /** @description Trust policy of the provider's role. Null for access keys */
                        trustPolicy: {
                            [key: string]: unknown;
                        } | null;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    IamDocumentService_CheckPolicy: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "policy": {
                 *         "Version": "2012-10-17",
                 *         "Statement": [
                 *           {
                 *             "Effect": "Allow",
                 *             "Action": [
                 *               "s3:GetObject",
                 *               "s3:PutObject"
                 *             ],
                 *             "Resource": "arn:aws:s3:::lab-aviti/runs/*"
                 *           }
                 *         ]
                 *       },
                 *       "credentialType": "role",
                 *       "bucket": "lab-aviti",
                 *       "prefix": "runs"
                 *     }
                 */
                "application/json": {
                    /** @description The customer's AWS account. The default is the account of executionRoleArn */
                    accountId?: string;
                    /** @description The default is the bucket that the policy names */
                    bucket?: string;
                    /** @enum {string} */
                    credentialType?: "role" | "accessKeys";
                    /** @description The ARN of the execution role, if you know it */
                    executionRoleArn?: string;
                    /** @description The permission policy, as a JSON object or as text. Without white space it has at most 10,240 characters, as in IAM */
                    policy: Record<string, never> | string;
                    prefix?: string;
                    region?: string;
                    /** @description The Resource ID of the share, or the ARN of the workflow */
                    workflowId?: string;
                    /** @description The AWS account that shares the workflow */
                    workflowOwnerId?: string;
                };
            };
        };
        responses: {
            /** @description What the policy grants */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        capabilities: {
                            /** @enum {string} */
                            capability: "runUpload" | "dataExploration" | "bases2fastq" | "sharing" | "cliCredentials";
                            conditional: ("s3:GetBucketLocation" | "s3:ListBucket" | "s3:PutObject" | "sts:GetCallerIdentity" | "sts:GetFederationToken" | "omics:GetWorkflow" | "omics:StartRun" | "iam:PassRole" | "omics:GetRun" | "omics:CancelRun" | "s3:GetBucketPolicy" | "s3:PutBucketPolicy" | "s3:DeleteBucketPolicy" | "s3:GetObject")[];
                            missing: ("s3:GetBucketLocation" | "s3:ListBucket" | "s3:PutObject" | "sts:GetCallerIdentity" | "sts:GetFederationToken" | "omics:GetWorkflow" | "omics:StartRun" | "iam:PassRole" | "omics:GetRun" | "omics:CancelRun" | "s3:GetBucketPolicy" | "s3:PutBucketPolicy" | "s3:DeleteBucketPolicy" | "s3:GetObject")[];
                            /** @enum {string} */
                            state: "ready" | "limited" | "notReady";
                            unknown: ("s3:GetBucketLocation" | "s3:ListBucket" | "s3:PutObject" | "sts:GetCallerIdentity" | "sts:GetFederationToken" | "omics:GetWorkflow" | "omics:StartRun" | "iam:PassRole" | "omics:GetRun" | "omics:CancelRun" | "s3:GetBucketPolicy" | "s3:PutBucketPolicy" | "s3:DeleteBucketPolicy" | "s3:GetObject")[];
                        }[];
                        /** @enum {string} */
                        credentialType: "role" | "accessKeys";
                        /** @description The buckets and folders that polony checked the policy for. Empty for any bucket */
                        locations: {
                            bucket: string;
                            prefix: string;
                        }[];
                        permissions: {
                            /** @enum {string} */
                            action: "s3:GetBucketLocation" | "s3:ListBucket" | "s3:PutObject" | "sts:GetCallerIdentity" | "sts:GetFederationToken" | "omics:GetWorkflow" | "omics:StartRun" | "iam:PassRole" | "omics:GetRun" | "omics:CancelRun" | "s3:GetBucketPolicy" | "s3:PutBucketPolicy" | "s3:DeleteBucketPolicy" | "s3:GetObject";
                            purpose: string;
                            reasons: string[];
                            /** @enum {string} */
                            requirement: "required" | "requiredForUsers" | "optional";
                            /** @enum {string} */
                            state: "granted" | "denied" | "conditional";
                            statements: {
                                [key: string]: unknown;
                            }[];
                            unlocks: string;
                        }[];
                        statements: {
                            /** @enum {string} */
                            effect: "Allow" | "Deny";
                            index: number;
                            /** @description Actions, or patterns of actions, that polony does not need */
                            otherActions: string[];
                            permissions: {
                                /** @enum {string} */
                                action: "s3:GetBucketLocation" | "s3:ListBucket" | "s3:PutObject" | "sts:GetCallerIdentity" | "sts:GetFederationToken" | "omics:GetWorkflow" | "omics:StartRun" | "iam:PassRole" | "omics:GetRun" | "omics:CancelRun" | "s3:GetBucketPolicy" | "s3:PutBucketPolicy" | "s3:DeleteBucketPolicy" | "s3:GetObject";
                                reasons: string[];
                                /** @description Whether the statement applies in all cases */
                                wholly: boolean;
                            }[];
                            sid: string | null;
                        }[];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    IamDocumentService_GetEventDocuments: {
        parameters: {
            query: {
                bucket: string;
                prefix?: string;
                /** @description The https URL of POST /v1/events. The default is that path below POLONY_PUBLIC_URL */
                url?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The documents */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description A CloudFormation template. It needs CAPABILITY_IAM */
                        cloudFormation: string;
                        terraform: string;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    InstallationService_GetInstallation: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The installation */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        installation: components["schemas"]["Installation"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    InstrumentService_ListInstruments: {
        parameters: {
            query?: {
                /** @description The default is 100. More than 1,000 counts as 1,000 */
                pageSize?: number;
                /** @description nextPageToken or previousPageToken of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page of instruments */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        instruments: components["schemas"]["Instrument"][];
                        nextPageToken: string;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    InstrumentService_GetInstrument: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                serial_number: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The instrument */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        instrument: components["schemas"]["Instrument"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    InstrumentService_ListInstrumentMetrics: {
        parameters: {
            query?: {
                /** @description The default is 100, the maximum 1,000 */
                pageSize?: number;
                /** @description nextPageToken or previousPageToken of another page of this list */
                pageToken?: string;
                /** @description Only runs at or after this time */
                since?: string;
                /** @description Only runs before this time */
                until?: string;
            };
            header?: never;
            path: {
                serial_number: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page of metrics */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        metrics: components["schemas"]["InstrumentMetrics"][];
                        nextPageToken: string;
                        previousPageToken: string;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    InstrumentService_ListInstrumentStorageConnections: {
        parameters: {
            query?: {
                /** @description The default is 100. More than 1,000 counts as 1,000 */
                pageSize?: number;
                /** @description nextPageToken or previousPageToken of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path: {
                serial_number: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page of storage connections */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        nextPageToken: string;
                        storageConnections: components["schemas"]["StorageConnection"][];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ProviderService_ListProviders: {
        parameters: {
            query?: {
                /** @description The default is 100, the maximum 1,000 */
                pageSize?: number;
                /** @description nextPageToken or previousPageToken of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description One page of providers */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        nextPageToken: string;
                        providers: components["schemas"]["Provider"][];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ProviderService_CreateProvider: {
        parameters: {
            query?: never;
            header?: {
                /** @description Makes the request safe to repeat. 1 to 255 printable ASCII characters. For 24 hours, repeating the request with this key returns the first response. */
                "idempotency-key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "sequencing-account",
                 *       "defaultRegion": "us-west-2",
                 *       "credentialType": "role",
                 *       "roleArn": "arn:aws:iam::111122223333:role/Element-ServiceUser",
                 *       "externalId": "lab-7f3a"
                 *     }
                 */
                "application/json": {
                    /** @description Access key ID, starting with AKIA. Only for the credential type `accessKeys` */
                    accessKeyId?: string;
                    /** @enum {string} */
                    credentialType: "role" | "accessKeys";
                    /** @description An AWS region */
                    defaultRegion: string;
                    /** @description External ID in the trust policy of the role: 2 to 1224 letters, digits and @:,=-./_. Omit it, and polony generates one that nobody can guess. No two AWS accounts may use the same one. Only for the credential type `role` */
                    externalId?: string;
                    /** @description Unique, 1 to 128 characters */
                    name: string;
                    /** @description ARN of the role. Only for the credential type `role` */
                    roleArn?: string;
                    /** @description Secret access key. polony encrypts it and never returns it. Only for the credential type `accessKeys` */
                    secretAccessKey?: string;
                };
            };
        };
        responses: {
            /** @description The new provider */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        provider: components["schemas"]["Provider"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The Idempotency-Key was used for a different request */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ProviderService_GetProvider: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The provider */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        provider: components["schemas"]["Provider"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ProviderService_DeleteProvider: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ProviderService_UpdateProvider: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "roleArn": "arn:aws:iam::111122223333:role/Element-ServiceUser-2"
                 *     }
                 */
                "application/json": {
                    /** @description Access key ID, starting with AKIA. Only for the credential type `accessKeys` */
                    accessKeyId?: string;
                    /** @enum {string} */
                    credentialType?: "role" | "accessKeys";
                    /** @description An AWS region */
                    defaultRegion?: string;
                    /** @description External ID in the trust policy of the role: 2 to 1224 letters, digits and @:,=-./_. Omit it, and polony generates one that nobody can guess. No two AWS accounts may use the same one. Only for the credential type `role` */
                    externalId?: string;
                    /** @description Unique, 1 to 128 characters */
                    name?: string;
                    /** @description ARN of the role. Only for the credential type `role` */
                    roleArn?: string;
                    /** @description Secret access key. polony encrypts it and never returns it. Only for the credential type `accessKeys` */
                    secretAccessKey?: string;
                };
            };
        };
        responses: {
            /** @description The changed provider */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        provider: components["schemas"]["Provider"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ProviderService_GetProviderVerification: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The report */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        verification: components["schemas"]["Verification"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ProviderService_VerifyProvider: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The Temporal workflows that verify it have started */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        workflowIds: string[];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    ProviderService_VerifyDraft: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "sequencing-account",
                 *       "defaultRegion": "us-west-2",
                 *       "credentialType": "role",
                 *       "roleArn": "arn:aws:iam::111122223333:role/Element-ServiceUser",
                 *       "externalId": "lab-7f3a"
                 *     }
                 */
                "application/json": {
                    /** @description Access key ID, starting with AKIA. Only for the credential type `accessKeys` */
                    accessKeyId?: string;
                    /** @enum {string} */
                    credentialType: "role" | "accessKeys";
                    /** @description An AWS region */
                    defaultRegion: string;
                    /** @description External ID in the trust policy of the role: 2 to 1224 letters, digits and @:,=-./_. Omit it, and polony generates one that nobody can guess. No two AWS accounts may use the same one. Only for the credential type `role` */
                    externalId?: string;
                    /** @description Unique, 1 to 128 characters */
                    name: string;
                    /** @description ARN of the role. Only for the credential type `role` */
                    roleArn?: string;
                    /** @description Secret access key. polony encrypts it and never returns it. Only for the credential type `accessKeys` */
                    secretAccessKey?: string;
                };
            };
        };
        responses: {
            /** @description What polony found */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description The external ID that was tried; null for access keys */
                        externalId: string | null;
                        verification: components["schemas"]["DraftVerification"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_ListRuns: {
        parameters: {
            query?: {
                /**
                 * @description Terms of the form keyword:value, separated by spaces. All terms must match. Separate alternative values with commas. Instead of the colon you can use >=, <=, >, < and !=. Unknown values never match : and always match !=. Text without a keyword matches all string fields. Quotes make a value exact. Dates are ISO 8601, or a time ago such as 7d
                 * @example status:failed time_completed>=7d
                 */
                filter?: string;
                includeTotalCount?: boolean;
                /**
                 * @description One of time_created, time_started, time_completed, time_updated, name, instrument.name, status, metrics.sequencing.total_yield, metrics.sequencing.q30, and " desc" for the opposite direction. Unknown numbers and times count as the lowest. The default is newest first
                 * @example time_created desc
                 */
                orderBy?: string;
                /** @description The default is 100, the maximum 1,000 */
                pageSize?: number;
                /** @description nextPageToken or previousPageToken of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page of runs */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        nextPageToken: string;
                        previousPageToken: string;
                        runs: components["schemas"]["Run"][];
                        totalCount?: number;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_GetRun: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The run */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        run: components["schemas"]["Run"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_GetRunDetails: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The run and its details */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        details: components["schemas"]["RunDetails"];
                        run: components["schemas"]["Run"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_CheckManifest: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "manifest": {
                 *         "content": "[Samples]\n"
                 *       }
                 *     }
                 */
                "application/json": {
                    /** @description The flow whose parameters and settings count. The default is none */
                    flowId?: string;
                    /** @description A run manifest that this execution uses instead of the run's own */
                    manifest?: {
                        /** @description The text of RunManifest.csv */
                        content: string;
                    } | {
                        /** @description The S3 URI of a manifest in the run's storage connection */
                        uri: string;
                    };
                    /** @description Parameters of the workflow's template. They override those of the flow. At most 50,000 characters as JSON */
                    parameters?: {
                        [key: string]: unknown;
                    };
                };
            };
        };
        responses: {
            /** @description What the check found */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        check: components["schemas"]["ManifestCheck"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_RetryRun: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description polony checks the upload */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        run: components["schemas"]["Run"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_GetRunSeries: {
        parameters: {
            query?: {
                /** @description An execution of the run. The default is the one that completed last */
                executionId?: string;
            };
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The series */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        execution: components["schemas"]["ExecutionSeries"] | null;
                        instrument: components["schemas"]["InstrumentSeries"];
                        runId: string;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_GetRunDownloadCredentials: {
        parameters: {
            query?: {
                /** @description The default, also for 0, is 3600. The minimum is 900. The maximum is what the provider's role allows, or 129600 with access keys */
                expirationSeconds?: number;
                /**
                 * @description The beginning of the paths, relative to the resource
                 * @example BaseCalls/
                 */
                prefix?: string;
            };
            header?: never;
            path: {
                run_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The credentials */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        s3: components["schemas"]["S3Credentials"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_ListRunFiles: {
        parameters: {
            query?: {
                /** @description The default is 3,600. A URL also expires when the AWS session that signed it does: its X-Amz-Expires has the real value */
                downloadUrlExpirationSeconds?: number;
                /** @description With includeDownloadUrl: you must send the header x-amz-checksum-mode: ENABLED with the GET, and S3 responds with the checksum if it has one */
                includeDownloadChecksum?: boolean;
                /** @description Whether each file comes with a download URL. The URL works without a key */
                includeDownloadUrl?: boolean;
                /** @description The default is 1,000 */
                pageSize?: number;
                /** @description nextPageToken of the previous page, with the same prefix and recursive */
                pageToken?: string;
                /**
                 * @description The beginning of the paths, relative to the resource
                 * @example BaseCalls/
                 */
                prefix?: string;
                /** @description Whether to list the files of subfolders too. The default is true */
                recursive?: boolean;
            };
            header?: never;
            path: {
                run_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page of files */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        files: components["schemas"]["File"][];
                        isTruncated: boolean;
                        nextPageToken: string;
                        subdirectories: string[];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_GetRunDownloadUrl: {
        parameters: {
            query: {
                /** @description Whether a browser saves the file (attachment, the default) or displays it (inline) */
                disposition?: "attachment" | "inline";
                /** @description The default is 3,600. See X-Amz-Expires of the URL */
                expirationSeconds?: number;
                /**
                 * @description Path of the file, relative to the resource
                 * @example RunParameters.json
                 */
                path: string;
            };
            header?: never;
            path: {
                run_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The URL */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description How long the URL is valid: at most as long as the AWS session */
                        expirationSeconds: number;
                        url: string;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_PreviewRunFile: {
        parameters: {
            query: {
                /**
                 * @description Path of the file, relative to the resource
                 * @example RunParameters.json
                 */
                path: string;
            };
            header?: never;
            path: {
                run_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The preview */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        preview: components["schemas"]["FilePreview"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_GetRunReport: {
        parameters: {
            query: {
                /**
                 * @description Path of the file, relative to the resource
                 * @example RunParameters.json
                 */
                path: string;
            };
            header?: never;
            path: {
                run_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The report */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/html": string;
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_ListBlockedRuns: {
        parameters: {
            query?: {
                /**
                 * @description Terms of the form keyword:value, separated by spaces. All terms must match. Separate alternative values with commas. Instead of the colon you can use >=, <=, >, < and !=. Unknown values never match : and always match !=. Text without a keyword matches all string fields. Quotes make a value exact. Dates are ISO 8601, or a time ago such as 7d
                 * @example status:failed time_completed>=7d
                 */
                filter?: string;
                includeTotalCount?: boolean;
                /**
                 * @description One of time_created, time_started, time_completed, time_updated, name, instrument.name, status, metrics.sequencing.total_yield, metrics.sequencing.q30, and " desc" for the opposite direction. Unknown numbers and times count as the lowest. The default is newest first
                 * @example time_created desc
                 */
                orderBy?: string;
                /** @description The default is 100, the maximum 1,000 */
                pageSize?: number;
                /** @description nextPageToken or previousPageToken of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page of blocked runs */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        nextPageToken: string;
                        previousPageToken: string;
                        runs: {
                            blocked: components["schemas"]["Blocked"];
                            run: components["schemas"]["Run"];
                        }[];
                        totalCount?: number;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_CountRuns: {
        parameters: {
            query?: {
                /**
                 * @description Terms of the form keyword:value, separated by spaces. All terms must match. Separate alternative values with commas. Instead of the colon you can use >=, <=, >, < and !=. Unknown values never match : and always match !=. Text without a keyword matches all string fields. Quotes make a value exact. Dates are ISO 8601, or a time ago such as 7d
                 * @example status:failed time_completed>=7d
                 */
                filter?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description How many runs have each status */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description How many of them wait for a person */
                        blocked: number;
                        counts: {
                            RUN_STATUS_COMPLETED: number;
                            RUN_STATUS_CREATED: number;
                            RUN_STATUS_DISCARDED: number;
                            RUN_STATUS_FAILED: number;
                            RUN_STATUS_PAUSED: number;
                            RUN_STATUS_PAUSING: number;
                            RUN_STATUS_PRIMED: number;
                            RUN_STATUS_PRIMING: number;
                            RUN_STATUS_RUNNING: number;
                            RUN_STATUS_SEQUENCED: number;
                            RUN_STATUS_SEQUENCING: number;
                            RUN_STATUS_STOPPED: number;
                            RUN_STATUS_STOPPING: number;
                            RUN_STATUS_UNSPECIFIED: number;
                        };
                        /** @description How many of them upload without progress */
                        stalled: number;
                        total: number;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_ListRunFilterFields: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The keywords */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        fields: components["schemas"]["FilterField"][];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    RunService_ListRunFilterValues: {
        parameters: {
            query: {
                /** @description A keyword of the filter whose values are texts */
                field: string;
                /** @description How the values begin, in any case */
                prefix?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The values */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description Whether there are more */
                        isTruncated: boolean;
                        /** @description At most 50, in alphabetical order */
                        values: string[];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    SessionService_GetSession: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The caller of this request */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        session: components["schemas"]["Session"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    SessionService_CreateSession: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "apiKey": "polony_01920000000070008000000000000004_…"
                 *     }
                 */
                "application/json": {
                    /** @description An API key */
                    apiKey?: string;
                    /** @description What follows `#` in a sign-in link */
                    signInToken?: string;
                };
            };
        };
        responses: {
            /** @description The new session */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        session: components["schemas"]["Session"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    SessionService_DeleteSession: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    SessionService_GetSignInMethods: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description How a person can sign in */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        methods: {
                            /** @description With an API key: POST /v1/session */
                            apiKey: boolean;
                            /** @description At the identity provider: GET /v1/session/oidc/start */
                            oidc: boolean;
                        };
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    SessionService_FinishOidcSignIn: {
        parameters: {
            query?: {
                code?: string;
                error?: string;
                iss?: string;
                state?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page that opens the requested one */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/html": string;
                };
            };
            /** @description To the page /sign-in */
            302: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    SessionService_StartOidcSignIn: {
        parameters: {
            query?: {
                /** @description The path of the page to open after signing in, below the address of polony, with its query. The default is / */
                returnTo?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description To the identity provider */
            302: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    SessionService_CreateSignInLink: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The link. You cannot get it again */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        signInLink: {
                            /** @description Below the address of polony. The secret follows `#`, so it is in no request and no log */
                            path: string;
                            /** Format: date-time */
                            timeExpires: string;
                        };
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_ListStorageConnections: {
        parameters: {
            query?: {
                /** @description The default is 100. More than 1,000 counts as 1,000 */
                pageSize?: number;
                /** @description nextPageToken or previousPageToken of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description One page of storage connections */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        nextPageToken: string;
                        storageConnections: components["schemas"]["StorageConnection"][];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_CreateStorageConnection: {
        parameters: {
            query?: never;
            header?: {
                /** @description Makes the request safe to repeat. 1 to 255 printable ASCII characters. For 24 hours, repeating the request with this key returns the first response. */
                "idempotency-key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "aviti-runs",
                 *       "providerId": "01920000-0000-7000-8000-000000000000",
                 *       "region": "us-west-2",
                 *       "bucket": "lab-aviti",
                 *       "prefix": "runs",
                 *       "useForRunUpload": true,
                 *       "useForDataExploration": true
                 *     }
                 */
                "application/json": {
                    /** @description Whether verification may write the unchanged bucket policy back, to test the permission to do so. The default is false */
                    allowPolicyProbe?: boolean;
                    /** @description The bucket's name, without s3:// */
                    bucket: string;
                    /** @description Unique, 1 to 128 characters */
                    name: string;
                    /** @description The folder that holds run data. If you omit it, polony uses the whole bucket */
                    prefix?: string;
                    providerId: string;
                    /** @description The region of the bucket */
                    region: string;
                    /** @description The number of folders between the prefix and the folders of the instruments. The default is 0 */
                    runDepth?: number;
                    useForDataExploration: boolean;
                    /** @description Whether instruments upload runs to this bucket. If true, polony searches it for runs */
                    useForRunUpload: boolean;
                };
            };
        };
        responses: {
            /** @description The new storage connection */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        details: components["schemas"]["StorageConnectionDetails"];
                        storageConnection: components["schemas"]["StorageConnection"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The Idempotency-Key was used for a different request */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_GetStorageConnection: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The storage connection */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        storageConnection: components["schemas"]["StorageConnection"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_DeleteStorageConnection: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_UpdateStorageConnection: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "useForRunUpload": false
                 *     }
                 */
                "application/json": {
                    /** @description Whether verification may write the unchanged bucket policy back, to test the permission to do so. The default is false */
                    allowPolicyProbe?: boolean;
                    /** @description The bucket's name, without s3:// */
                    bucket?: string;
                    /** @description Unique, 1 to 128 characters */
                    name?: string;
                    /** @description The folder that holds run data. If you omit it, polony uses the whole bucket */
                    prefix?: string;
                    providerId?: string;
                    /** @description The region of the bucket */
                    region?: string;
                    /** @description The number of folders between the prefix and the folders of the instruments. The default is 0 */
                    runDepth?: number;
                    useForDataExploration?: boolean;
                    /** @description Whether instruments upload runs to this bucket. If true, polony searches it for runs */
                    useForRunUpload?: boolean;
                };
            };
        };
        responses: {
            /** @description The changed storage connection */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        details: components["schemas"]["StorageConnectionDetails"];
                        storageConnection: components["schemas"]["StorageConnection"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_ListAccessGrants: {
        parameters: {
            query?: {
                /** @description The default is 100. More than 1,000 counts as 1,000 */
                pageSize?: number;
                /** @description nextPageToken or previousPageToken of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description One page of grants */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        accessGrants: components["schemas"]["AccessGrant"][];
                        /** @description Policy statements whose Sids look like those of polony, but that belong to no grant. Only on the first page */
                        foreignStatements: components["schemas"]["ForeignStatement"][];
                        nextPageToken: string;
                        /** @description Why polony cannot read the bucket policy, or why AWS rejects every change of it: statements of others for principals that do not exist (DELETED_PRINCIPAL) */
                        policyProblem: components["schemas"]["AccessProblem"] | null;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_CreateAccessGrant: {
        parameters: {
            query?: never;
            header?: {
                /** @description Makes the request safe to repeat. 1 to 255 printable ASCII characters. For 24 hours, repeating the request with this key returns the first response. */
                "idempotency-key"?: string;
            };
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "principal": "arn:aws:iam::444455556666:role/Analysis",
                 *       "description": "Analysis group",
                 *       "prefix": "AV240001/20260115_AV240001_RUN/",
                 *       "timeExpires": "2030-01-31T00:00:00Z"
                 *     }
                 */
                "application/json": {
                    /** @description Who uses this grant */
                    description?: string;
                    /** @description Grants only this folder, relative to the prefix of the storage connection. Empty for the folder of the storage connection itself. If you omit it, you grant the whole bucket */
                    prefix?: string;
                    /** @description ARN of an IAM role or user, or an account: 12 digits or an ARN such as arn:aws:iam::111122223333:root */
                    principal: string;
                    /**
                     * Format: date-time
                     * @description When the grant ends
                     */
                    timeExpires?: string;
                };
            };
        };
        responses: {
            /** @description The grant, whose state is active or pending */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        accessGrant: components["schemas"]["AccessGrant"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The Idempotency-Key was used for a different request */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_GetAccessGrant: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                grant_id: string;
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The grant */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        accessGrant: components["schemas"]["AccessGrant"];
                        /** @description Why polony cannot read the bucket policy, or why AWS rejects every change of it: statements of others for principals that do not exist (DELETED_PRINCIPAL) */
                        policyProblem: components["schemas"]["AccessProblem"] | null;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_DeleteAccessGrant: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                grant_id: string;
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description polony is removing the grant. Until then, the principal can still read the bucket */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        accessGrant: components["schemas"]["AccessGrant"];
                    };
                };
            };
            /** @description Done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_RepairAccessGrant: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                grant_id: string;
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The grant, whose state is active or pending */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        accessGrant: components["schemas"]["AccessGrant"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_GetStorageConnectionDetails: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The storage connection */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        details: components["schemas"]["StorageConnectionDetails"];
                        storageConnection: components["schemas"]["StorageConnection"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_DiscoverRuns: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The search has started */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        details: components["schemas"]["StorageConnectionDetails"];
                        storageConnection: components["schemas"]["StorageConnection"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_ListIgnoredFolders: {
        parameters: {
            query?: {
                /** @description The default is 100. More than 1,000 counts as 1,000 */
                pageSize?: number;
                /** @description nextPageToken or previousPageToken of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description One page of folders */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        ignoredFolders: components["schemas"]["IgnoredFolder"][];
                        nextPageToken: string;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_CreateUploadCredentials: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "runFolder": "20260115_AV240001_NA12878",
                 *       "expirationSeconds": 3600
                 *     }
                 */
                "application/json": {
                    /** @description The default, also for 0, and the maximum is 3600. The minimum is 900. A client that needs longer requests new credentials, which polony gives until the upload is complete */
                    expirationSeconds?: number;
                    /** @description The name of the instrument's folder. The default is the instrument in the name of the run folder */
                    instrumentName?: string;
                    /** @description The folders between the prefix and the instrument's folder, for a storage connection with a runDepth */
                    parentPath?: string;
                    /** @description The name of the run folder: <YYYYMMDD>_<instrument>_<run name> */
                    runFolder: string;
                };
            };
        };
        responses: {
            /** @description The credentials. prefix is the run folder */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        s3: components["schemas"]["S3Credentials"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_GetStorageConnectionVerification: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The report */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        verification: components["schemas"]["Verification"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_VerifyStorageConnection: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The Temporal workflows that verify it have started */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        workflowIds: string[];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_GetDownloadCredentials: {
        parameters: {
            query?: {
                /** @description The default, also for 0, is 3600. The minimum is 900. The maximum is what the provider's role allows, or 129600 with access keys */
                expirationSeconds?: number;
                /**
                 * @description The beginning of the paths, relative to the resource
                 * @example BaseCalls/
                 */
                prefix?: string;
            };
            header?: never;
            path: {
                storage_connection_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The credentials */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        s3: components["schemas"]["S3Credentials"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_ListFiles: {
        parameters: {
            query?: {
                /** @description The default is 3,600. A URL also expires when the AWS session that signed it does: its X-Amz-Expires has the real value */
                downloadUrlExpirationSeconds?: number;
                /** @description With includeDownloadUrl: you must send the header x-amz-checksum-mode: ENABLED with the GET, and S3 responds with the checksum if it has one */
                includeDownloadChecksum?: boolean;
                /** @description Whether each file comes with a download URL. The URL works without a key */
                includeDownloadUrl?: boolean;
                /** @description The default is 1,000 */
                pageSize?: number;
                /** @description nextPageToken of the previous page, with the same prefix and recursive */
                pageToken?: string;
                /**
                 * @description The beginning of the paths, relative to the resource
                 * @example BaseCalls/
                 */
                prefix?: string;
                /** @description Whether to list the files of subfolders too. The default is true */
                recursive?: boolean;
            };
            header?: never;
            path: {
                storage_connection_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page of files */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        files: components["schemas"]["File"][];
                        isTruncated: boolean;
                        nextPageToken: string;
                        subdirectories: string[];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_GetDownloadUrl: {
        parameters: {
            query: {
                /** @description Whether a browser saves the file (attachment, the default) or displays it (inline) */
                disposition?: "attachment" | "inline";
                /** @description The default is 3,600. See X-Amz-Expires of the URL */
                expirationSeconds?: number;
                /**
                 * @description Path of the file, relative to the resource
                 * @example RunParameters.json
                 */
                path: string;
            };
            header?: never;
            path: {
                storage_connection_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The URL */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description How long the URL is valid: at most as long as the AWS session */
                        expirationSeconds: number;
                        url: string;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_PreviewFile: {
        parameters: {
            query: {
                /**
                 * @description Path of the file, relative to the resource
                 * @example RunParameters.json
                 */
                path: string;
            };
            header?: never;
            path: {
                storage_connection_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The preview */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        preview: components["schemas"]["FilePreview"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    StorageConnectionService_GetReport: {
        parameters: {
            query: {
                /**
                 * @description Path of the file, relative to the resource
                 * @example RunParameters.json
                 */
                path: string;
            };
            header?: never;
            path: {
                storage_connection_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The report */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/html": string;
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    WebhookService_ListWebhooks: {
        parameters: {
            query?: {
                /** @description The default is 100, the maximum 1,000 */
                pageSize?: number;
                /** @description nextPageToken or previousPageToken of another page of this list */
                pageToken?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page of webhooks */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        nextPageToken: string;
                        webhooks: components["schemas"]["Webhook"][];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    WebhookService_CreateWebhook: {
        parameters: {
            query?: never;
            header?: {
                /** @description Makes the request safe to repeat. 1 to 255 printable ASCII characters. For 24 hours, repeating the request with this key returns the first response. */
                "idempotency-key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "url": "https://lims.example.org/hooks/polony",
                 *       "eventTypes": [
                 *         "execution.completed",
                 *         "execution.failed"
                 *       ]
                 *     }
                 */
                "application/json": {
                    description?: string;
                    enabled?: boolean;
                    /** @description Some of run.uploading, run.stalled, run.resumed, run.blocked, run.unblocked, run.uploaded, run.failed, run.vanished, execution.untriggered, execution.initialized, execution.pending, execution.running, execution.completed, execution.failed, execution.canceled, execution.blocked, execution.unblocked, provider.credentials_changed, provider.created, provider.connected, provider.warning, provider.failed, provider.deleted, storage_connection.created, storage_connection.connected, storage_connection.warning, storage_connection.failed, storage_connection.deleted, compute_connection.created, compute_connection.connected, compute_connection.warning, compute_connection.failed, compute_connection.deleted, flow.created, flow.connected, flow.warning, flow.failed, flow.deleted. If you leave it out or empty: all */
                    eventTypes?: string[];
                    /** @description An https:// URL without user name and password. Addresses of private networks work only where the administrator of polony allows them */
                    url: string;
                };
            };
        };
        responses: {
            /** @description Created */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description The secret that signs the webhooks. Store it: polony does not show it again. null if you repeat a request after the secret was rotated */
                        secret: string | null;
                        webhook: components["schemas"]["Webhook"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The Idempotency-Key was used for a different request */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    WebhookService_GetWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The webhook */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        webhook: components["schemas"]["Webhook"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    WebhookService_DeleteWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    WebhookService_UpdateWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "enabled": false
                 *     }
                 */
                "application/json": {
                    description?: string;
                    enabled?: boolean;
                    /** @description Some of run.uploading, run.stalled, run.resumed, run.blocked, run.unblocked, run.uploaded, run.failed, run.vanished, execution.untriggered, execution.initialized, execution.pending, execution.running, execution.completed, execution.failed, execution.canceled, execution.blocked, execution.unblocked, provider.credentials_changed, provider.created, provider.connected, provider.warning, provider.failed, provider.deleted, storage_connection.created, storage_connection.connected, storage_connection.warning, storage_connection.failed, storage_connection.deleted, compute_connection.created, compute_connection.connected, compute_connection.warning, compute_connection.failed, compute_connection.deleted, flow.created, flow.connected, flow.warning, flow.failed, flow.deleted. If you leave it out or empty: all */
                    eventTypes?: string[];
                    /** @description An https:// URL without user name and password. Addresses of private networks work only where the administrator of polony allows them */
                    url?: string;
                };
            };
        };
        responses: {
            /** @description Changed */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        webhook: components["schemas"]["Webhook"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    WebhookService_ListDeliveries: {
        parameters: {
            query?: {
                /** @description The default is 100, the maximum 1,000 */
                pageSize?: number;
                /** @description nextPageToken or previousPageToken of another page of this list */
                pageToken?: string;
                state?: "pending" | "retrying" | "delivered" | "failed";
            };
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page of deliveries */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        deliveries: components["schemas"]["WebhookDelivery"][];
                        nextPageToken: string;
                        previousPageToken: string;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    WebhookService_ReplayWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "since": "2026-01-15T00:00:00Z",
                 *       "onlyFailed": true
                 *     }
                 */
                "application/json": {
                    deliveryIds?: string[];
                    /** @description Only deliveries that polony gave up */
                    onlyFailed?: boolean;
                    /**
                     * Format: date-time
                     * @description Events at this time and later
                     */
                    since?: string;
                    /** Format: date-time */
                    until?: string;
                };
            };
        };
        responses: {
            /** @description polony delivers the events */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description The number of deliveries */
                        replayed: number;
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The request body is not JSON */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    WebhookService_RotateSecret: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Rotated */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @description The secret that signs the webhooks. Store it: polony does not show it again. null if you repeat a request after the secret was rotated */
                        secret: string | null;
                        webhook: components["schemas"]["Webhook"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
    WebhookService_TestWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description polony sends the event */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        delivery: components["schemas"]["WebhookDelivery"];
                    };
                };
            };
            /** @description A field or parameter is invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token is missing or invalid */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The API key or token lacks the required scope, or AWS denied access */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The resource does not exist, or the caller may not see it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The current state prevents this: a name is taken, a resource is in use, or an execution has ended */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The caller sent too many requests. Wait for the seconds in Retry-After */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description An internal error. The log has more under the request ID */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
            /** @description The database, Temporal or AWS is unavailable. Try again later */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Error"];
                };
            };
        };
    };
}
